"use strict";
// Each frame's plots are drawn when they come near the window; its buttons choose what they show.
const dark = matchMedia("(prefers-color-scheme: dark)");
const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"] };

const ON_DARK = { "#000000": "#ececec", "#595959": "#b0b0b0", "#0072B2": "#2e8bd0" };

function inked(text) { // with the colours that would be too dark on dark replaced
  if (!dark.matches) return text;
  return Object.entries(ON_DARK).reduce((found, [from, to]) => found.replaceAll(from, to), text);
}

function layoutOf(own, narrow) {
  const style = getComputedStyle(document.documentElement);
  const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name).trim());
  const axis = (of) => ({
    gridcolor: line, linecolor: ink, zeroline: false, showline: true, ticks: "outside", exponentformat: "none",
    minor: { ticks: of.type === "log" && !of.tickvals ? "outside" : "" }, automargin: true, ...of,
    title: { ...of.title, standoff: 8 },
  });
  return {
    ...own, xaxis: axis(own.xaxis), yaxis: axis(own.yaxis), showlegend: false, hovermode: "closest",
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
    Plotly.react(panels[i], data, layoutOf(layout, innerWidth < 600), config);
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
