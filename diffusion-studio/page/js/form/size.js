/** Width and height: presets of the model's area, and free numbers in its multiples. */

import { modelOf } from "../catalog.js";
import { byId, element } from "../dom.js";
import { change, current, onChange } from "../settings/store.js";
import { effective } from "./fields.js";

const RATIOS = [
  { label: "1:1", name: "Square", width: 1, height: 1 },
  { label: "4:3", name: "Landscape", width: 4, height: 3 },
  { label: "16:9", name: "Wide", width: 16, height: 9 },
  { label: "3:4", name: "Portrait", width: 3, height: 4 },
  { label: "9:16", name: "Tall", width: 9, height: 16 },
];

/** The longest side that this model draws; some have no limit. */
const longestSide = ({ max_side, side_multiple }) =>
  max_side === null ? Infinity : Math.floor(max_side / side_multiple) * side_multiple;

/** The size of these proportions with the area that the model draws best, in its multiples. */
export function sizeOfRatio(width, height, model = modelOf(current())) {
  const area = model.defaults.width * model.defaults.height;
  const scale = Math.sqrt(area / (width * height));
  const most = Math.min(1, longestSide(model) / (scale * Math.max(width, height)));
  const rounded = (side) =>
    Math.max(model.side_multiple, Math.round((side * scale * most) / model.side_multiple) * model.side_multiple);
  return { width: rounded(width), height: rounded(height) };
}

export function startSize() {
  byId("swap-sides").addEventListener("click", () =>
    change({ width: effective("height"), height: effective("width") }),
  );
  for (const side of ["width", "height"]) {
    byId(side).addEventListener("change", () => change({ [side]: rounded(effective(side)) }));
  }
  byId("size-presets").append(...RATIOS.map(presetButton));
  onChange(showSize);
  showSize();
}

/** The nearest side that the model draws. */
function rounded(side) {
  const model = modelOf(current());
  const near = Math.round(side / model.side_multiple) * model.side_multiple;
  return Math.min(longestSide(model), Math.max(model.side_multiple, near));
}

function presetButton({ label, name, width, height }) {
  const shape = element("span", { className: "preset-shape", "aria-hidden": "true" });
  shape.style.aspectRatio = `${width} / ${height}`;
  shape.classList.add(width >= height ? "lying" : "standing");
  const choose = () => change(sizeOfRatio(width, height));
  return element(
    "button",
    { type: "button", className: "preset", "aria-label": `${name}, ${label}`, title: name, on: { click: choose } },
    element("span", { className: "preset-frame" }, shape),
    label,
  );
}

function showSize() {
  const model = modelOf(current());
  const [width, height] = [effective("width"), effective("height")];
  RATIOS.forEach((ratio, index) => {
    const size = sizeOfRatio(ratio.width, ratio.height, model);
    const isChosen = size.width === width && size.height === height;
    byId("size-presets").children[index].setAttribute("aria-pressed", isChosen);
  });
  const longest = longestSide(model);
  const isLimited = Number.isFinite(longest);
  for (const side of ["width", "height"]) {
    Object.assign(byId(side), { min: model.side_multiple, max: isLimited ? longest : "", step: model.side_multiple });
  }
  byId("size-hint").textContent = `In multiples of ${model.side_multiple}${isLimited ? `, up to ${longest}` : ""}.`;
}
