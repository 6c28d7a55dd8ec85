"use strict";
// Each frame's plots are drawn when they come near the window; its buttons choose what they show.
const dark = matchMedia("(prefers-color-scheme: dark)");
const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"] };

const ON_DARK = { "#000000": "#ececec", "#595959": "#b0b0b0", "#0072B2": "#2e8bd0", "#332288": "#9a8ce8",
  "#882255": "#d277a6", "#117733": "#4fae72", "#0B4F83": "#8c7be0", "#062E4F": "#c07be0" };

function inked(text) { // with the colours that would be too dark on dark replaced
  if (!dark.matches) return text;
  return Object.entries(ON_DARK).reduce((found, [from, to]) => found.replaceAll(from, to), text);
}

function decades(data, key) { // ticks of a logarithmic axis, each with its whole value
  const all = data.flatMap((trace) => trace[key]).filter((value) => value > 0);
  const span = Math.max(...all) / Math.min(...all);
  const at = span > 1e3 ? [1] : span > 10 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 7];
  const tickvals = [...Array(24).keys()].flatMap((k) => at.map((one) => Number((one * 10 ** (k - 12)).toPrecision(2))));
  return { tickvals, ticktext: tickvals.map((value) => value.toLocaleString("en", { maximumSignificantDigits: 2 })) };
}

function broken(text) { // into lines of some 18 characters
  return text.split(" ").reduce((lines, word) => {
    const longer = `${lines.at(-1)} ${word}`.trim();
    return longer.length <= 18 ? [...lines.slice(0, -1), longer] : [...lines, word];
  }, [""]).filter(Boolean).join("<br>");
}

function layoutOf(own, narrow, data) {
  const style = getComputedStyle(document.documentElement);
  const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name).trim());
  const names = narrow && own.yaxis.type === "category" ? own.yaxis.categoryarray : undefined;
  const ticks = (of, key) => {
    if (names && key === "y") return { tickvals: names, ticktext: names.map(broken) };
    return of.type === "log" && !of.tickvals ? decades(data, key) : {};
  };
  const axis = (of, key) => ({
    gridcolor: line, linecolor: ink, zeroline: false, showline: true, ticks: "outside", exponentformat: "none",
    automargin: true, ...of, ...ticks(of, key), title: { ...of.title, standoff: 8 },
  });
  return {
    ...own, height: own.height * (names ? 1.6 : 1), xaxis: axis(own.xaxis, "x"), yaxis: axis(own.yaxis, "y"), showlegend: false, hovermode: "closest",
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: ink, size: narrow ? 11 : 12 },
    margin: { l: 56, r: 16, t: own.meta.top, b: 48 }, modebar: { orientation: "h", bgcolor: "transparent", color: ink },
    dragmode: narrow ? false : "zoom",
  };
}

function pressed(frame, name) { // what the buttons of one kind say: name -> on or off
  const buttons = frame.querySelectorAll(`button[data-${name}]`);
  return new Map([...buttons].map((one) => [one.dataset[name], one.ariaPressed === "true"]));
}

function arranged(frame, figures) { // the figures as the buttons would have them
  const [groups, layers, log] = ["group", "layer", "log"].map((name) => pressed(frame, name));
  const shown = ({ group, layer }) => (groups.get(group) ?? true) && (layers.get(layer) ?? true);
  return JSON.parse(inked(figures)).map(({ data, layout }) => {
    for (const trace of data) trace.visible = shown(trace.meta);
    for (const axis of layout.meta.may_log) {
      if (log.get(axis) === (layout[`${axis}axis`].type === "log")) continue;
      layout[`${axis}axis`].type = log.get(axis) ? "log" : "linear";
      delete layout[`${axis}axis`].range;
    }
    return { data, layout };
  });
}

function draw(frame) {
  const figures = frame.querySelector('script[type="application/json"]').textContent;
  const panels = frame.querySelectorAll(".panel");
  for (const swatch of frame.querySelectorAll("[data-colour]")) swatch.style.color = inked(swatch.dataset.colour);
  arranged(frame, figures).forEach(({ data, layout }, i) => {
    Plotly.react(panels[i], data, layoutOf(layout, innerWidth < 600, data), config);
  });
  frame.dataset.drawn = "";
}

for (const frame of document.querySelectorAll(".frame")) {
  const groups = [...frame.querySelectorAll("button[data-group]")];
  const all = frame.querySelector("button.all");
  frame.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    if (button === all) {
      const any = groups.some((one) => one.ariaPressed === "true");
      for (const one of groups) one.ariaPressed = String(!any);
    } else button.ariaPressed = String(button.ariaPressed !== "true");
    if (all) all.textContent = groups.some((one) => one.ariaPressed === "true") ? "hide all" : "show all";
    draw(frame);
  });
}

const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    draw(target);
  }
}, { rootMargin: "800px" });
const frames = [...document.querySelectorAll(".frame")];
for (const frame of frames) near.observe(frame);
const redraw = () => frames.filter((frame) => "drawn" in frame.dataset).forEach(draw);
dark.addEventListener("change", redraw);
addEventListener("beforeprint", () => frames.forEach(draw));
