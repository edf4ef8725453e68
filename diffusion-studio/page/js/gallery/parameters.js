/** What a picture was drawn with, as a list of terms. */

import { element } from "../dom.js";
import { duration, plain } from "../format.js";

const KINDS = { txt2img: null, img2img: "from a picture", inpaint: "with a mask" };

/** One line for below a small picture. */
export function inOneLine({ job: { request, model }, image }) {
  return [`${image.width} × ${image.height}`, `${request.steps} steps`, `seed ${image.seed}`, model].join(" · ");
}

/** Everything that matters, as `<dl>`. */
export function parameterList({ job, image }) {
  const { request } = job;
  const rows = [
    ["Prompt", request.prompt],
    ["Negative prompt", request.negative_prompt],
    ["Model", job.model],
    ["Size", `${image.width} × ${image.height}`],
    ["Seed", image.seed],
    ["Steps", request.steps],
    ["Guidance", request.guidance_scale],
    ["True guidance", request.true_cfg_scale],
    ["Sampler", request.sampler],
    ["Schedule", request.schedule],
    ["Shift", request.shift],
    ["LoRAs", request.loras?.map(({ name, weight }) => `${name} × ${plain(weight)}`).join(", ")],
    ["Start", KINDS[job.kind]],
    ["Strength", KINDS[job.kind] && request.strength],
    ["Step cache", request.step_cache?.method],
    ["Drawn in", timeOf(job)],
    ["Notes", job.warnings.join(" ")],
  ];
  const known = rows.filter(([, value]) => value != null && value !== "");
  return element(
    "dl",
    { className: "parameters" },
    ...known.flatMap(([term, value]) => [
      element("dt", { textContent: term }),
      element("dd", { textContent: typeof value === "number" ? plain(value) : value }),
    ]),
  );
}

function timeOf({ cached, started_at, finished_at }) {
  if (cached) return "no time: it was drawn before";
  return started_at === null ? null : duration(finished_at - started_at);
}
