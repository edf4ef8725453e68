/** The choice of the model, and what the rest of the form shows for it. */

import { capabilities, modelOf, models, refreshModels, samplers, schedules } from "../catalog.js";
import { byId, element } from "../dom.js";
import { showExamples } from "../examples.js";
import { bytes } from "../format.js";
import { onJobEnd } from "../jobs/tracker.js";
import { isGuided } from "../settings/request.js";
import { OWN_OF_MODEL, initialSettings } from "../settings/schema.js";
import { change, current, onChange } from "../settings/store.js";
import { effective } from "./fields.js";

const GUIDANCE_HINTS = {
  "classifier-free": "How strictly to follow the prompt; 1 draws without, twice as fast.",
  distilled: "How strictly to follow the prompt.",
  none: "",
};

const option = (value, label) => element("option", { value, textContent: label });

/** Fills the choices that the server decides on. */
export function fillChoices() {
  byId("model").replaceChildren(...models().map(({ name, bytes: size }) => option(name, `${name} (${bytes(size)})`)));
  byId("sampler").replaceChildren(
    ...samplers().map(({ name, label, stochastic }) => option(name, stochastic ? `${label} (adds noise)` : label)),
  );
  byId("schedule").replaceChildren(
    option("", "Model’s own"),
    ...schedules().map(({ name, label }) => option(name, label)),
  );
  const { guidance_methods, step_caches, output_formats, limits } = capabilities();
  byId("guidance-method").replaceChildren(...guidance_methods.map((name) => option(name, METHODS[name] ?? name)));
  byId("step-cache").replaceChildren(
    option("", "Off"),
    ...step_caches.map((name) => option(name, STEP_CACHES[name] ?? name)),
  );
  byId("output-format").replaceChildren(...output_formats.map((name) => option(name, name.toUpperCase())));
  byId("count").max = limits.max_count;
  byId("steps").max = limits.max_steps;
  byId("prompt").maxLength = limits.max_prompt_chars;
  byId("negative").maxLength = limits.max_prompt_chars;
}

const METHODS = { cfg: "Plain", "zero-star": "CFG-Zero*", apg: "Adaptive projected" };
const STEP_CACHES = { "first-block": "First block", easy: "Easy" };

export function startModelChoice() {
  const select = byId("model");
  select.addEventListener("change", () => choose(select.value));
  byId("reset").addEventListener("click", resetToModel);
  onChange(showForModel);
  onJobEnd(async () => {
    await refreshModels().catch(() => {});
    showForModel();
  });
  showForModel();
}

/** Another model starts from its own steps, guidance and size. */
function choose(name) {
  change({ ...ownOfModel(), model: name });
}

/** Takes back everything but the prompts, the LoRAs and the seed. */
function resetToModel() {
  const { model, prompt, negative_prompt, loras, seed, seed_locked } = current();
  change({ ...initialSettings(), model, prompt, negative_prompt, loras, seed, seed_locked });
}

function ownOfModel() {
  const initial = initialSettings();
  return Object.fromEntries(OWN_OF_MODEL.map((name) => [name, initial[name]]));
}

let shownName = null;

function showForModel() {
  const settings = current();
  const model = modelOf(settings);
  byId("model").value = model.name;
  byId("model-hint").textContent = model.loaded ? "" : "It is loaded when the first picture is drawn with it.";
  if (shownName !== model.name) {
    shownName = model.name;
    showExamples(model);
  }

  const classifierFree = model.guidance === "classifier-free";
  const guided = isGuided(settings, model);
  byId("negative-field").hidden = !(model.negative_prompt || guided);
  byId("negative-hint").hidden = guided || settings.negative_prompt === "";
  byId("guidance-field").hidden = model.guidance === "none";
  byId("guidance-hint").textContent = GUIDANCE_HINTS[model.guidance];
  byId("true-cfg-field").hidden = classifierFree;
  byId("skip-layers-field").hidden = model.skippable_blocks === null;
  byId("skip-layers-hint").textContent = `Numbers from 0 to ${model.skippable_blocks - 1}.`;
  byId("skip-layers-numbers").hidden = settings["skip_layers.layers"] === null;
  byId("sequence-field").hidden = model.defaults.max_sequence_length === null;
  byId("step-cache-threshold-field").hidden = settings["step_cache.method"] === null;
  byId("quality-field").hidden = settings.output_format === "png";
  for (const field of document.querySelectorAll("[data-method]")) {
    field.hidden = field.dataset.method !== settings["guidance.method"];
  }
  showSummaries(settings);
}

/** How many settings of a fold are not as they were at first. */
function changedIn(fold, settings) {
  const initial = initialSettings();
  const names = [...document.querySelectorAll(`[data-fold="${fold}"] [data-setting]`)].map(
    ({ dataset }) => dataset.setting,
  );
  return names.filter((name) => settings[name] !== initial[name]).length;
}

/** What a closed fold holds. */
function showSummaries(settings) {
  const sides = `${effective("width")} × ${effective("height")}`;
  byId("picture-summary").textContent = `${sides} · ${settings.sigmas?.length ?? effective("steps")} steps`;
  const advanced = changedIn("advanced", settings);
  byId("advanced-summary").textContent = advanced > 0 ? `${advanced} changed` : "";
  byId("loras-summary").textContent = settings.loras.length > 0 ? String(settings.loras.length) : "";
}
