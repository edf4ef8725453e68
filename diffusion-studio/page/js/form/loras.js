/** The LoRAs: which are chosen with which weight, and the list to choose from. */

import { capabilities, lorasFor, modelOf } from "../catalog.js";
import { byId, element, icon, iconButton } from "../dom.js";
import { bytes, plain } from "../format.js";
import { notice } from "../notices.js";
import { change, current, onChange } from "../settings/store.js";

let offered = [];
let offeredFor = null;

export function startLoras() {
  byId("lora-search").addEventListener("input", showOffered);
  byId("lora-rescan").addEventListener("click", () => load({ anew: true }));
  onChange(() => {
    if (offeredFor !== modelOf(current()).name) load();
    showChosen();
    showOffered();
  });
  showChosen();
  load();
}

async function load({ anew = false } = {}) {
  const model = modelOf(current());
  offeredFor = model.name;
  try {
    offered = await lorasFor(model, { anew });
  } catch (error) {
    notice(error.message, "error");
  }
  rows.clear();
  showChosen();
  showOffered();
}

const offer = (name) => offered.find((lora) => lora.name === name);
const isChosen = (name) => current().loras.some((lora) => lora.name === name);

const add = (name) => change({ loras: [...current().loras, { name, weight: 1 }] });
const remove = (name) => change({ loras: current().loras.filter((lora) => lora.name !== name) });
const weigh = (name, weight) =>
  change({ loras: current().loras.map((lora) => (lora.name === name ? { name, weight } : lora)) });

/** Rows are kept while their LoRA is chosen, so that a slider is not replaced while it is dragged. */
const rows = new Map();

function showChosen() {
  const { loras } = current();
  for (const name of rows.keys()) if (!isChosen(name)) rows.delete(name);
  const shown = loras.map(({ name, weight }, index) => {
    const row = rows.get(name) ?? chosenRow(name);
    rows.set(name, row);
    row.dataset.field = `loras[${index}]`;
    showWeight(row, weight);
    showProblem(row, name);
    return row;
  });
  const list = byId("chosen-loras");
  const isAlreadyShown = shown.length === list.children.length && shown.every((row, at) => row === list.children[at]);
  if (!isAlreadyShown) list.replaceChildren(...shown);
}

function chosenRow(name) {
  const weightInput = (properties) =>
    element("input", { ...properties, step: "0.05", on: { input: ({ target }) => weighFrom(target) } });
  const weighFrom = (input) => Number.isFinite(input.valueAsNumber) && weigh(name, input.valueAsNumber);
  return element(
    "li",
    { className: "chosen-lora" },
    element("span", { className: "lora-name", textContent: name, title: name }),
    iconButton("close", `Remove ${name}`, () => remove(name)),
    weightInput({ type: "range", min: "-1", max: "2", "aria-label": `Weight of ${name}, slider` }),
    weightInput({ type: "number", inputMode: "decimal", "aria-label": `Weight of ${name}` }),
    triggerChips(name),
    element("p", { className: "field-problem", hidden: true }),
  );
}

function showWeight(row, weight) {
  for (const input of row.querySelectorAll("input")) {
    if (input !== document.activeElement) input.value = plain(weight);
  }
}

function showProblem(row, name) {
  const lora = offer(name);
  const problem = offered.length > 0 && !lora ? "It is not in the folder." : lora?.problem;
  const shown = row.querySelector(".field-problem");
  shown.textContent = problem ?? "";
  shown.hidden = !problem;
}

/** The words that a LoRA was trained on; a click puts one into the prompt. */
function triggerChips(name) {
  const triggers = offer(name)?.triggers ?? [];
  if (triggers.length === 0) return null;
  const chips = triggers.map((trigger) =>
    element("button", {
      type: "button",
      className: "chip",
      textContent: trigger,
      title: "Add to the prompt",
      on: { click: () => addToPrompt(trigger) },
    }),
  );
  return element("div", { className: "chips", role: "group", "aria-label": `Trigger words of ${name}` }, ...chips);
}

function addToPrompt(trigger) {
  const prompt = current().prompt.trim();
  if (!prompt.includes(trigger)) change({ prompt: prompt === "" ? trigger : `${prompt}, ${trigger}` });
}

function showOffered() {
  const wanted = byId("lora-search").value.trim().toLowerCase();
  const matches = ({ name, triggers }) => [name, ...triggers].some((word) => word.toLowerCase().includes(wanted));
  const found = offered.filter(matches);
  byId("lora-list").replaceChildren(...found.filter(({ name }) => !isChosen(name)).map(offeredRow));
  byId("lora-hint").textContent = hint(found.length);
}

function hint(found) {
  if (offered.length === 0) return "The server has no LoRAs. It reads them from the folder given by --lora-dir.";
  return found === 0 ? "No LoRA has this name or trigger." : "";
}

function offeredRow(lora) {
  const fits = lora.fits !== false;
  const isFull = current().loras.length >= capabilities().limits.max_loras;
  const details = [bytes(lora.bytes), lora.rank && `rank ${lora.rank}`, lora.triggers.join(", ")];
  const described = element("p", { className: "hint", textContent: details.filter(Boolean).join(" · ") });
  const addButton = element(
    "button",
    {
      type: "button",
      className: "lora-add",
      disabled: !fits || isFull,
      "aria-label": `Add ${lora.name}`,
      on: { click: () => add(lora.name) },
    },
    icon("plus"),
    element("span", { className: "lora-name", textContent: lora.name }),
  );
  const problem = fits ? null : element("p", { className: "field-problem", textContent: lora.problem });
  return element("li", { className: fits ? "" : "unfit" }, addButton, described, problem);
}
