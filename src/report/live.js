// How things stand is asked for again and again; the page is loaded anew when there are other results than it shows.
const activity = document.getElementById("activity");
const title = document.title;
const ask = async () => {
  try {
    const [version, ...lines] = (await (await fetch("state", { cache: "no-store" })).text()).split("\n");
    if (version !== document.documentElement.dataset.version) location.reload();
    document.title = title;
    activity.replaceChildren(...lines.filter(Boolean).map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }));
  } catch {
    document.title = `(gone) ${title}`;
  }
};
ask();
setInterval(ask, 2000);
