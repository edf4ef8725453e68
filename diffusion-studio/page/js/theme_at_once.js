// Runs before the page is shown, so that a chosen theme does not flash. The rest is in theme.js.
{
  const chosen = localStorage.getItem("studio.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
}
