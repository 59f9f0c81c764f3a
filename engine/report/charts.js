// Makes the charts interactive as they scroll into sight. Bundled with Vega by engine.report.charts.vega, which puts
// `vegaEmbed` in scope and the charts' configuration in place of its name below.
const config = __CONFIG__;

// Nothing is ever fetched: data stand in the declaration, and whatever names an address is turned away.
const refuse = () => Promise.reject(new Error("charts request nothing"));
const loader = { load: refuse, sanitize: refuse, http: refuse, file: refuse };

const style = document.createElement("style");
style.textContent = `
  #vg-tooltip-element { position: fixed; z-index: 9; visibility: hidden; pointer-events: none; max-width: 24rem;
    padding: .35rem .6rem; background: var(--paper); color: var(--ink); border: 1px solid var(--line); border-radius: 3px;
    box-shadow: 0 2px 8px rgb(0 0 0 / .18); font: .8rem/1.45 var(--sans); overflow-wrap: anywhere; }
  #vg-tooltip-element.visible { visibility: visible; }
  #vg-tooltip-element td { padding: 0; } #vg-tooltip-element td.key { color: var(--soft); padding-right: .7rem; }
  .stage { width: 100%; }
  .stage .mark-line path:hover { stroke-width: 3px; opacity: 1; stroke-opacity: 1; }`;
document.head.append(style);

const options = {
  mode: "vega-lite",
  renderer: "svg",
  actions: false,
  defaultStyle: false,
  ast: true, // expressions are interpreted: the page allows no evaluation
  config,
  loader,
  tooltip: { disableDefaultStyle: true },
};

async function hydrate(figure) {
  const still = figure.querySelector("svg[role=img]");
  const source = figure.querySelector('script[type="application/json"]');
  if (!still || !source) return;
  const stage = document.createElement("div");
  stage.className = "stage";
  stage.style.display = "none";
  still.after(stage);
  try {
    await vegaEmbed(stage, JSON.parse(source.textContent), options);
    const lively = stage.querySelector("svg");
    lively.setAttribute("role", "img");
    lively.setAttribute("aria-label", still.getAttribute("aria-label"));
    lively.removeAttribute("aria-hidden");
    for (const part of lively.children) part.setAttribute("aria-hidden", "true"); // the label says what they show
    lively.style.cssText = still.style.cssText;
    lively.classList.add(...still.classList);
    stage.style.display = "";
    still.remove();
    figure.dataset.chart = "interactive";
  } catch (error) {
    stage.remove(); // the still drawing stays
    figure.dataset.chart = "still";
    console.warn("chart", figure.id, error);
  }
}

const sight = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      sight.unobserve(entry.target);
      hydrate(entry.target);
    }
  },
  { rootMargin: "200px" },
);
for (const figure of document.querySelectorAll("figure[data-chart]")) sight.observe(figure);
