/* Filters, sorting, deep links, copying and the theme. Pages are complete without it; nothing here makes a request. */
(() => {
  "use strict";
  const root = document.documentElement;
  const form = document.getElementById("filters");
  const rows = [...document.querySelectorAll("#matrix [data-claim]")];
  const shown = document.getElementById("shown");

  const decode = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // not an address that this script wrote
    }
  };

  const filter = () => {
    const asked = Object.fromEntries(new FormData(form));
    const query = (asked.q || "").trim().toLowerCase();
    const test = ["verdict", "subject", "protocol"].filter((name) => asked[name]);
    const narrowed = Object.values(asked).some((value) => value.trim() !== "");
    let kept = 0;
    for (const row of rows) {
      let fits = (!asked.standing || row.dataset.standing === asked.standing) &&
        (!asked.section || row.dataset.section === asked.section) &&
        (!query || [row.dataset.claim, row.dataset.words, row.textContent].join(" ").toLowerCase().includes(query));
      const tests = [...row.querySelectorAll(".sq[title]:not(.idle)")];
      for (const one of tests) {
        const end = one.title.lastIndexOf(": "); // no verdict has a colon
        const said = { protocol: one.title.slice(0, end), verdict: one.title.slice(end + 2), subject: one.closest("td").dataset.label };
        one.hidden = test.some((name) => said[name] !== asked[name]);
      }
      if (test.length) fits &&= tests.some((one) => !one.hidden);
      row.hidden = !fits;
      kept += fits;
    }
    for (const body of document.querySelectorAll("#matrix > tbody")) {
      body.hidden = !body.querySelector("[data-claim]:not([hidden])");
    }
    const ours = rows.filter((row) => row.dataset.claim.startsWith("A")).length;
    const all = ours ? `${rows.length - ours} claims of the document and ${ours} of our own` : `${rows.length} claims`;
    shown.value = narrowed ? `${kept} of ${rows.length} claims` : all;
    return { asked, narrowed };
  };

  const remember = ({ asked, narrowed }) => {
    const pairs = Object.entries(asked).filter(([, value]) => value.trim() !== "");
    history.replaceState(null, "", narrowed ? "#" + new URLSearchParams(pairs) : "#overview");
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
    if (form && hash.includes("=")) return choose(hash);
    if (!hash) return;
    const id = decode(hash);
    if (document.getElementById(id)) return open(id);
    // Addresses of claims and tests on the first page, as it was when it held them all.
    const row = rows.find((one) => one.dataset.claim === id.split("_")[0]);
    const link = row?.querySelector("th a");
    if (link && link.pathname !== location.pathname) location.replace(link.href + "#" + hash);
  };

  const rank = ["holds", "holds in part", "depends on model or protocol", "does not hold", "cannot tell yet", "not tested"];
  const sorted = { by: "claim", direction: 1 };
  const matrix = document.querySelector("table#matrix");
  const homes = rows.map((row) => row.parentElement);
  const sort = (head) => {
    const by = head.dataset.sort;
    sorted.direction = sorted.by === by ? -sorted.direction : 1;
    sorted.by = by;
    const place = (row) => (by === "standing" ? rank.indexOf(row.dataset.standing) : 0);
    const order = [...rows].sort((a, b) => sorted.direction * (place(a) - place(b) || rows.indexOf(a) - rows.indexOf(b)));
    // By standing all claims are one list; by claim they stand in their sections.
    const whole = by === "standing" || sorted.direction < 0;
    matrix.classList.toggle("one-list", whole);
    for (const row of order) (whole ? homes[0] : homes[rows.indexOf(row)]).append(row);
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sorted.direction > 0 ? "ascending" : "descending");
    filter();
  };
  for (const head of document.querySelectorAll("table#matrix th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head));
    head.append(button);
  }

  for (const button of document.querySelectorAll("button.copy")) {
    const command = button.parentElement.querySelector("code");
    if (!navigator.clipboard || !command) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not allowed here";
      }
    });
  }

  const theme = document.getElementById("theme");
  const themes = ["system", "light", "dark"];
  const paint = (name) => {
    if (name === "system") delete root.dataset.theme;
    else root.dataset.theme = name;
    theme.textContent = `Colours: ${name}`;
  };
  const stored = (name) => {
    try {
      if (name) localStorage.setItem("lm-claims-theme", name);
      else return localStorage.getItem("lm-claims-theme");
    } catch {
      // some browsers keep nothing for files
    }
  };
  if (theme) {
    theme.hidden = false;
    const kept = stored();
    paint(themes.includes(kept) ? kept : "system");
    theme.addEventListener("click", () => {
      paint(themes[(themes.indexOf(root.dataset.theme || "system") + 1) % themes.length]);
      stored(root.dataset.theme || "system");
    });
  }

  if (form) {
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => remember(filter()));
    form.addEventListener("reset", () => setTimeout(() => remember(filter())));
    filter();
  }
  addEventListener("hashchange", follow);
  follow();
})();
