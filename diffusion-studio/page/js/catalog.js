/** What the server offers: models, LoRAs, samplers, limits. */

import { fetchCapabilities, fetchLoras, fetchModels, fetchSamplers, rescanLoras } from "./api.js";

const catalog = { models: [], defaultModel: null, samplers: [], schedules: [], capabilities: null };

export async function loadCatalog() {
  const [models, samplers, capabilities] = await Promise.all([fetchModels(), fetchSamplers(), fetchCapabilities()]);
  Object.assign(catalog, { models: models.models, defaultModel: models.default, capabilities, ...samplers });
}

/** Asks again which models are loaded. */
export async function refreshModels() {
  catalog.models = (await fetchModels()).models;
}

export const models = () => catalog.models;
export const samplers = () => catalog.samplers;
export const schedules = () => catalog.schedules;
export const capabilities = () => catalog.capabilities;

/** The model of these settings: the chosen one, or the server's default. */
export function modelOf(settings) {
  const named = (name) => catalog.models.find((model) => model.name === name);
  return named(settings.model) ?? named(catalog.defaultModel) ?? catalog.models[0];
}

export const isKnownModel = (name) => catalog.models.some((model) => model.name === name);

/** The LoRAs, each with whether it fits the model. With `anew` the server reads its folder again first. */
export async function lorasFor(model, { anew = false } = {}) {
  if (anew) await rescanLoras();
  return (await fetchLoras(model.name)).loras;
}
