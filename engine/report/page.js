/* Filters, sorting, deep links and the theme. The page is complete without it; nothing here makes a request. */
(() => {
  "use strict";
  const root = document.documentElement;
  const form = document.getElementById("filters");
  const items = [...document.querySelectorAll("[data-verdict]")];
  const cards = [...document.querySelectorAll("article.claim")];
  const shown = document.getElementById("shown");

  const decode = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // not an address that this script wrote
    }
  };
  const card = (item) => item.closest("article.claim");
  const words = new Map();
  const read = (node) => {
    if (!words.has(node)) {
      const parts = node.matches("article.claim")
        ? [node.dataset.claim, node.dataset.section, node.querySelector("h3")?.textContent]
        : [node.dataset.verdict, node.dataset.subject, node.dataset.protocol, (node.querySelector(".sentence") ?? node).textContent];
      words.set(node, parts.join(" ").toLowerCase());
    }
    return words.get(node);
  };

  const matches = (item, asked) => {
    const values = {
      verdict: item.dataset.verdict,
      subject: item.dataset.subject,
      protocol: item.dataset.protocol,
      section: card(item).dataset.section,
      registration: item.dataset.registration,
    };
    for (const [name, value] of Object.entries(values)) {
      if (asked[name] && asked[name] !== value) return false;
    }
    const query = (asked.q || "").trim().toLowerCase();
    return !query || (read(card(item)) + " " + read(item)).includes(query);
  };

  const filter = () => {
    const asked = Object.fromEntries(new FormData(form));
    const narrowed = Object.values(asked).some((value) => value.trim() !== "");
    const kept = new Set(items.filter((item) => matches(item, asked)).map((item) => item.id));
    for (const item of items) item.hidden = !kept.has(item.id);
    for (const list of document.querySelectorAll("details.waiting")) {
      list.hidden = !list.querySelector("li:not([hidden])");
    }
    for (const one of cards) one.hidden = !one.querySelector("[data-verdict]:not([hidden])");
    const gone = new Set(cards.filter((one) => one.hidden).map((one) => one.dataset.claim));
    for (const row of document.querySelectorAll("#matrix [data-claim]")) row.hidden = gone.has(row.dataset.claim);
    for (const link of document.querySelectorAll("#matrix td a, #matrix tbody tr:not(.claim-row, [data-claim]) > th > a")) {
      if (link.closest(".waiting")) continue;
      const off = !kept.has(decode(link.hash.slice(1)));
      const many = link.closest(".bare, td.small");
      if (many) {
        link.hidden = off;
        many.hidden = !many.querySelector("a:not([hidden])");
      } else {
        (link.matches(".line") ? link : link.closest("tr")).hidden = off;
      }
    }
    root.classList.toggle("narrowed", narrowed);
    shown.value = narrowed ? `${kept.size} of ${items.length} items` : `${items.length} items`;
    return { asked, narrowed };
  };

  const remember = ({ asked, narrowed }) => {
    const pairs = Object.entries(asked).filter(([, value]) => value.trim() !== "");
    const hash = narrowed ? "#" + new URLSearchParams(pairs) : "#overview";
    history.replaceState(null, "", hash);
  };

  const choose = (pairs) => {
    // Not with form.reset(), whose handler would change the address.
    for (const field of form.querySelectorAll("select, input")) field.value = "";
    for (const [name, value] of new URLSearchParams(pairs)) {
      const field = form.elements.namedItem(name);
      if (!field?.matches("select, input")) continue;
      field.value = value;
      if (field.value !== value) field.value = ""; // not an option here
    }
    return filter();
  };

  const open = (id) => {
    const target = document.getElementById(id);
    if (!target) return;
    if (target.closest("[hidden]")) choose("");
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    target.scrollIntoView();
  };

  const follow = () => {
    const hash = location.hash.slice(1);
    if (hash.includes("=")) choose(hash);
    else if (hash) open(decode(hash));
  };

  const rank = [
    "supported", "partly supported", "inconclusive", "refuted", "not run at this effort", "not tested on this model", "error", "skipped",
  ];
  const sorted = { by: "claim", direction: 1 };
  const place = (row, column) => {
    const word = row.cells[column]?.querySelector(".verdict .unseen, .verdict")?.textContent.replace(/^[^a-z]+/i, "").trim();
    const found = rank.indexOf(word);
    return found < 0 ? rank.length : found;
  };
  const sort = (head, rows, body) => {
    const by = head.dataset.sort;
    sorted.direction = sorted.by === by ? -sorted.direction : 1;
    sorted.by = by;
    const order = (a, b) => (by === "claim" ? 0 : place(a, Number(by)) - place(b, Number(by))) || rows.indexOf(a) - rows.indexOf(b);
    body.append(...[...rows].sort((a, b) => sorted.direction * order(a, b)));
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sorted.direction > 0 ? "ascending" : "descending");
  };
  const body = document.querySelector("table.matrix > tbody");
  if (body) {
    const rows = [...body.rows];
    for (const head of document.querySelectorAll("table.matrix th[data-sort]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(head, rows, body));
      head.append(button);
    }
  }

  const theme = document.getElementById("theme");
  const themes = ["system", "light", "dark"];
  const paint = (name) => {
    if (name === "system") delete root.dataset.theme;
    else root.dataset.theme = name;
    theme.textContent = `Colours: ${name}`;
  };
  if (theme) {
    theme.hidden = false;
    paint("system");
    theme.addEventListener("click", () => {
      paint(themes[(themes.indexOf(root.dataset.theme || "system") + 1) % themes.length]);
    });
  }

  if (form) {
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => remember(filter()));
    form.addEventListener("reset", () => setTimeout(() => remember(filter())));
    for (const tally of document.querySelectorAll("a[data-filter]")) {
      tally.addEventListener("click", (event) => {
        event.preventDefault();
        remember(choose(new URLSearchParams({ verdict: tally.dataset.filter })));
        document.getElementById("overview").scrollIntoView();
      });
    }
    filter();
    addEventListener("hashchange", follow);
    follow();
  }
})();
