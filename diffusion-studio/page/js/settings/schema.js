/**
 * Every setting of the page, named by its path in a job's request. `initial` null means the model's own choice;
 * `isValid` says whether a value that came from a link, a file or the browser's store can be one.
 */

const isText = (value) => typeof value === "string";
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const isWhole = (value) => Number.isSafeInteger(value) && value >= 0;
const isFlag = (value) => typeof value === "boolean";
const isNumbers = (value) => Array.isArray(value) && value.every(isNumber);
const isShift = (value) => isNumber(value) || isText(value);
const isLora = (value) => isText(value?.name) && isNumber(value?.weight);
const isLoras = (value) => Array.isArray(value) && value.every(isLora);

const setting = (initial, isValid) => ({ initial, isValid: (value) => value === null || isValid(value) });
const always = (initial, isValid) => ({ initial, isValid });

export const SCHEMA = {
  model: setting(null, isText),
  prompt: always("", isText),
  negative_prompt: always("", isText),
  width: setting(null, isWhole),
  height: setting(null, isWhole),
  steps: setting(null, isWhole),
  guidance_scale: setting(null, isNumber),
  true_cfg_scale: setting(null, isNumber),
  sampler: setting(null, isText),
  schedule: setting(null, isText),
  shift: setting(null, isShift),
  shift_terminal: setting(null, isNumber),
  sigmas: setting(null, isNumbers),
  seed: setting(null, isWhole),
  count: always(1, isWhole),
  loras: always([], isLoras),
  strength: always(0.6, isNumber),
  mask_feather: always(0, isWhole),
  tile_vae: always(false, isFlag),
  max_sequence_length: setting(null, isWhole),
  "guidance.method": always("cfg", isText),
  "guidance.rescale": always(0, isNumber),
  "guidance.interval": setting(null, isNumbers),
  "guidance.zero_steps": always(1, isWhole),
  "guidance.eta": always(0, isNumber),
  "guidance.norm_threshold": setting(null, isNumber),
  "guidance.momentum": always(0, isNumber),
  "guidance.sequential": always(false, isFlag),
  "skip_layers.layers": setting(null, isNumbers),
  "skip_layers.scale": always(2.8, isNumber),
  "skip_layers.start": always(0.01, isNumber),
  "skip_layers.stop": always(0.2, isNumber),
  "step_cache.method": setting(null, isText),
  "step_cache.threshold": setting(null, isNumber),
  output_format: always("png", isText),
  quality: always(90, isWhole),
  // Not part of a request: whether the next picture has the same seed.
  seed_locked: always(false, isFlag),
};

/** What each model has its own value of; another model starts from its own again. */
export const OWN_OF_MODEL = [
  "width",
  "height",
  "steps",
  "guidance_scale",
  "true_cfg_scale",
  "sampler",
  "schedule",
  "shift",
  "shift_terminal",
  "sigmas",
  "max_sequence_length",
  "skip_layers.layers",
];

/** What says how a picture is kept and not what it is. */
const OF_THE_PERSON = ["output_format", "quality", "count"];

export const initialSettings = () =>
  Object.fromEntries(Object.entries(SCHEMA).map(([name, { initial }]) => [name, initial]));

/** Those of these settings that the page knows and that have a fitting value. */
export const onlyValid = (settings) =>
  Object.fromEntries(Object.entries(settings).filter(([name, value]) => SCHEMA[name]?.isValid(value)));

/** Every setting that decides what a picture is, at its initial value. */
export const initialPicture = () =>
  Object.fromEntries(Object.entries(initialSettings()).filter(([name]) => !OF_THE_PERSON.includes(name)));
