// How things stand is asked for again and again; the page is loaded anew when there are other results than it shows.
const activity = document.getElementById("activity");
const title = document.title;
let shown = "";
const ask = async () => {
  try {
    const state = await (await fetch("state", { cache: "no-store" })).text();
    const end = state.indexOf("\n");
    const [version, now] = [state.slice(0, end), state.slice(end + 1)];
    if (version !== document.documentElement.dataset.version) location.reload();
    document.title = title;
    if (now !== shown) activity.innerHTML = shown = now;
  } catch {
    document.title = `(gone) ${title}`;
  }
};
ask();
setInterval(ask, 2000);
