/** The switch between dark and light. Until it is used, the system decides. */

import { byId, icon } from "./dom.js";

const KEY = "studio.theme";
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : systemIsDark.matches;
};

function showSwitch() {
  const label = isDark() ? "Light theme" : "Dark theme";
  const button = byId("theme");
  button.replaceChildren(icon(isDark() ? "sun" : "moon"));
  button.setAttribute("aria-label", label);
  button.title = label;
}

export function startTheme() {
  byId("theme").addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    localStorage.setItem(KEY, theme);
    showSwitch();
  });
  systemIsDark.addEventListener("change", showSwitch);
  showSwitch();
}
