/** Prompts to begin with. */

import { byId, element } from "./dom.js";
import { change } from "./settings/store.js";

/** Sentences of the kind that the miniature was trained on. */
const OF_THE_MINIATURE = [
  "a large green star on a white background",
  "a boat with a white sail on the sea at night, a full moon in the sky",
  "the letter K in red on a cyan background",
  "a yellow house on the sand by day",
];

const OF_LARGE_MODELS = [
  "a lighthouse on a cliff at dusk, oil painting, warm light in the window",
  "portrait of a red fox in morning fog, photograph, shallow depth of field",
  "a paper-cut city at night, layers of deep blue, glowing windows",
  "a shop sign that reads “open all night”, neon, rain on the street",
];

export const examplesFor = (model) => (model.name.startsWith("mini") ? OF_THE_MINIATURE : OF_LARGE_MODELS);

/** Shows the examples as buttons that put them into the prompt. */
export function showExamples(list, model) {
  const choose = (prompt) => {
    change({ prompt });
    byId("prompt").focus();
  };
  list.replaceChildren(
    ...examplesFor(model).map((prompt) =>
      element("button", { type: "button", className: "chip", textContent: prompt, on: { click: () => choose(prompt) } }),
    ),
  );
}
