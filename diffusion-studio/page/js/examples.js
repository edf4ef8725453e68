/** Prompts to begin with. */

import { byId, element } from "./dom.js";
import { change } from "./settings/store.js";

/** Sentences of the kind that the miniature was trained on and draws well. */
const OF_THE_MINIATURE = [
  "a red house in the snow with mountains at sunset, a sun in the sky",
  "a boat with a white sail on the sea at night, a full moon in the sky",
  "a tree on the grass at sunset",
  "a large purple heart on a yellow background",
];

const OF_LARGE_MODELS = [
  "a lighthouse on a cliff at dusk, oil painting, warm light in the window",
  "portrait of a red fox in morning fog, photograph, shallow depth of field",
  "a paper-cut city at night, layers of deep blue, glowing windows",
  "a shop sign that reads “open all night”, neon, rain on the street",
];

export const examplesFor = (model) => (model.name.startsWith("mini") ? OF_THE_MINIATURE : OF_LARGE_MODELS);

/** Shows the examples as buttons that put them into the prompt. */
export function showExamples(model) {
  const choose = (prompt) => {
    change({ prompt });
    byId("prompt").focus();
  };
  byId("examples").replaceChildren(
    ...examplesFor(model).map((prompt) =>
      element("button", {
        type: "button",
        className: "chip",
        textContent: prompt,
        on: { click: () => choose(prompt) },
      }),
    ),
  );
}
