/** Puts what the server says about a field beside that field. */

import { byId, element } from "../dom.js";
import { SCHEMA } from "../settings/schema.js";
import { current, onChange } from "../settings/store.js";

let marked = null;

/** Shows a message at its field. With `focus` the field is opened, scrolled to and focused. Returns whether it is there. */
export function showFieldError(field, message, { focus }) {
  clearFieldError();
  const control = controlOf(field);
  if (!control) return false;
  const problem = element("p", { className: "field-problem", id: "field-problem", textContent: message });
  const holder = control.closest(".field, .chosen-lora, .fold-body") ?? control;
  holder.append(problem);
  control.setAttribute("aria-invalid", "true");
  control.setAttribute("aria-describedby", problem.id);
  marked = { control, problem };
  if (focus) {
    const fold = control.closest("details");
    if (fold) fold.open = true;
    control.focus();
    control.scrollIntoView({ block: "center" });
  }
  return true;
}

function clearFieldError() {
  if (!marked) return;
  marked.control.removeAttribute("aria-invalid");
  marked.control.removeAttribute("aria-describedby");
  marked.problem.remove();
  marked = null;
}

export const startFieldErrors = () => onChange(clearFieldError);

/** The control of `guidance.rescale` or `loras[0].weight`; a part that has none of its own belongs to the whole. */
function controlOf(field) {
  const parts = field.split(".");
  for (let length = parts.length; length > 0; length -= 1) {
    const path = parts.slice(0, length).join(".");
    const found = named(path) ?? named(path.replace(/\[\d+\]$/, "")) ?? partOf(path);
    if (found) return found.matches("li") ? found.querySelector("input") : found;
  }
  return null;
}

/** Of a group such as `guidance`, the part that was changed, which is what is wrong; or else its first. */
function partOf(group) {
  const names = Object.keys(SCHEMA).filter((name) => name.startsWith(`${group}.`));
  const isChanged = (name) => current()[name] !== SCHEMA[name].initial;
  const [first] = [...names.filter(isChanged), ...names].map(named).filter(Boolean);
  return first;
}

/** The number field where a slider has the same name; a hidden field is as good as none. */
function named(path) {
  const controls = [...byId("controls").querySelectorAll(`[data-field="${CSS.escape(path)}"]`)];
  const control = controls.find((candidate) => candidate.type !== "range");
  return control?.closest("[hidden]") ? undefined : control;
}
