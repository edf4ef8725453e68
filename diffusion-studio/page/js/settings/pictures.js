/** Keeps the start picture and its mask in the browser, where a reload finds them again. */

const STORE = "pictures";

const opened = new Promise((resolve) => {
  const request = indexedDB.open("studio", 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  request.onsuccess = () => resolve(request.result);
  // A private window may keep nothing: then a reload starts without the picture.
  request.onerror = () => resolve(null);
});

async function inStore(mode, act) {
  const database = await opened;
  if (database === null) return undefined;
  return new Promise((resolve) => {
    const request = act(database.transaction(STORE, mode).objectStore(STORE));
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(undefined);
  });
}

/** The kept picture of this name, a Blob, or undefined. */
export const keptPicture = (name) => inStore("readonly", (store) => store.get(name));

/** Keeps a Blob under this name; null removes it. */
export const keepPicture = (name, blob) =>
  inStore("readwrite", (store) => (blob === null ? store.delete(name) : store.put(blob, name)));
