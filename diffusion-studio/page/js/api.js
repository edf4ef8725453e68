/** The server's API. Every function gives what the server answered, or throws an ApiError. */

/** An answer that says no, or `network` for no answer at all. */
class ApiError extends Error {
  constructor({ status = 0, code = "network", message, field = null, retryAfter = null }) {
    super(message);
    Object.assign(this, { status, code, field, retryAfter });
  }
}

async function ask(method, path, { body, headers = {}, signal } = {}) {
  const response = await fetch(path, {
    method,
    headers: body === undefined ? headers : { "content-type": "application/json", ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
  }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ message: "The studio does not answer." });
  });
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  throw new ApiError({
    status: response.status,
    message: `The studio answered ${response.status}.`,
    ...answer?.error,
    retryAfter: Number(response.headers.get("retry-after")) || null,
  });
}

const at = (id) => encodeURIComponent(id);

export const fetchModels = () => ask("GET", "/api/v1/models");
export const fetchLoras = (model) => ask("GET", `/api/v1/loras?model=${at(model)}`);
export const rescanLoras = () => ask("POST", "/api/v1/loras/rescan");
export const fetchSamplers = () => ask("GET", "/api/v1/samplers");
export const fetchCapabilities = () => ask("GET", "/api/v1/capabilities");
export const fetchQueue = () => ask("GET", "/api/v1/queue");
export const fetchJob = (id) => ask("GET", `/api/v1/jobs/${at(id)}`);
export const cancelJob = (id) => ask("DELETE", `/api/v1/jobs/${at(id)}`);
export const fetchHistory = (before, limit) =>
  ask("GET", `/api/v1/history?limit=${limit}${before === null ? "" : `&before=${before}`}`);
export const deleteFromHistory = (id) => ask("DELETE", `/api/v1/history/${at(id)}`);
export const fetchPlan = (request, signal) => ask("POST", "/api/v1/plan", { body: request, signal });
export const inspectPicture = (image) => ask("POST", "/api/v1/inspect", { body: { image } });

/** The same `key` never draws twice, so an answer that got lost may be asked for again. */
export const submitJob = (request, key) =>
  ask("POST", "/api/v1/jobs", { body: request, headers: { "idempotency-key": key } });

/** Where a job's events are streamed from. */
export const eventsPath = (id) => `/api/v1/jobs/${at(id)}/events`;
