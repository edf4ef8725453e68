/** The button that copies a link to the settings. */

import { byId } from "./dom.js";
import { notice } from "./notices.js";
import { linkTo } from "./settings/link.js";
import { current } from "./settings/store.js";

export function startShare() {
  byId("copy-link").addEventListener("click", async () => {
    const link = linkTo(current());
    const isCopied = await copied(link);
    notice(isCopied ? "The link to these settings is copied." : `The link to these settings: ${link}`);
  });
}

/** Browsers let a page write to the clipboard only if it came over HTTPS or from this machine. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
