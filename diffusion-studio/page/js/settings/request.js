/** Settings as the request of a job, and back. */

import { SCHEMA, initialPicture, onlyValid } from "./schema.js";

/** Settings of the page alone. */
const NOT_SENT = ["seed_locked"];

/** Whether classifier-free guidance is at work, which the negative prompt and its formulas need. */
export function isGuided(settings, model) {
  const own = model.guidance === "classifier-free";
  const scale = own ? (settings.guidance_scale ?? model.defaults.guidance_scale) : settings.true_cfg_scale;
  return (scale ?? 1) > 1;
}

/** Whether the model has use for a setting, with the others as they are. */
function hasUse(name, settings, model, start) {
  const guided = isGuided(settings, model);
  const method = settings["guidance.method"];
  if (name === "strength") return start.hasImage;
  if (name === "mask_feather") return start.hasMask;
  if (name === "negative_prompt") return settings.negative_prompt !== "" && guided;
  if (name === "guidance_scale") return model.guidance !== "none";
  if (name === "true_cfg_scale") return model.guidance !== "classifier-free";
  if (name === "guidance.zero_steps") return guided && method === "zero-star";
  if (["guidance.eta", "guidance.norm_threshold", "guidance.momentum"].includes(name))
    return guided && method === "apg";
  if (name.startsWith("guidance.")) return guided;
  if (name.startsWith("skip_layers.")) return guided && settings["skip_layers.layers"]?.length > 0;
  if (name.startsWith("step_cache.")) return settings["step_cache.method"] !== null;
  if (name === "quality") return settings.output_format !== "png";
  if (["steps", "schedule", "shift", "shift_terminal"].includes(name)) return settings.sigmas === null;
  return !NOT_SENT.includes(name);
}

/** The body of a job, without the pictures. What is null is left to the server. */
export function requestOf(settings, model, start) {
  const request = { model: model.name };
  for (const name of Object.keys(SCHEMA)) {
    const value = settings[name];
    if (name !== "model" && value !== null && hasUse(name, settings, model, start)) put(request, name, value);
  }
  return request;
}

function put(request, name, value) {
  const [outer, inner] = name.split(".");
  if (inner === undefined) request[outer] = value;
  else (request[outer] ??= {})[inner] = value;
}

/** The settings of a request: what it does not name has its initial value. */
export function settingsOf(request) {
  const found = Object.keys(SCHEMA)
    .map((name) => [name, name.split(".").reduce((part, key) => part?.[key], request)])
    .filter(([, value]) => value != null);
  return { ...initialPicture(), ...onlyValid(Object.fromEntries(found)) };
}
