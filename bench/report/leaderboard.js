"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("js");

  // Tabs: the address names the open one; arrows move between them.
  const tabs = all("[role=tab]"), panels = all("[role=tabpanel]");
  const open = (tab, focus) => {
    tabs.forEach((t) => { t.setAttribute("aria-selected", t === tab); t.tabIndex = t === tab ? 0 : -1; });
    panels.forEach((p) => { p.hidden = p.id !== tab.getAttribute("aria-controls"); });
    if (focus) tab.focus();
  };
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", (event) => {
      event.preventDefault(); open(tab); history.replaceState(null, "", tab.getAttribute("href"));
    });
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) { event.preventDefault(); open(tabs[(i + step + tabs.length) % tabs.length], true); }
      if (event.key === " ") { event.preventDefault(); open(tab); }
    });
  });
  open(tabs.find((t) => t.getAttribute("href") === location.hash) || tabs[0]);

  panels.filter((p) => p.querySelector(".budget")).forEach((panel) => {
    const views = all(".view", panel), curves = JSON.parse(panel.querySelector(".curves").textContent);
    const control = (name) => panel.querySelector("." + name);
    const accesses = new Set(all("tr[data-row]", panel).map((r) => r.dataset.access).filter(Boolean));
    accesses.forEach((name) => control("access").append(new Option(name, name)));

    const show = () => {
      const word = control("find").value.toLowerCase(), access = control("access").value;
      views.forEach((view) => {
        view.hidden = view.dataset.budget !== control("budget").value;
        let seen = 0;
        all("tr[data-row]", view).forEach((row) => {
          row.hidden = !row.querySelector("th").textContent.toLowerCase().includes(word)
            || (access && row.dataset.access !== access)
            || (!control("references").checked && !row.classList.contains("ranked"));
          if (row.nextElementSibling?.classList.contains("detail")) row.nextElementSibling.hidden = row.hidden;
          seen += !row.hidden;
        });
        if (!view.hidden) control("count").textContent = seen + (seen === 1 ? " row" : " rows");
      });
    };
    ["budget", "find", "access", "references"].forEach((name) => control(name).addEventListener("input", show));
    show();

    all(".board", panel).forEach((board) => {
      all("th[data-sort]", board).forEach((head) => {
        const button = document.createElement("button");
        button.type = "button"; button.textContent = head.textContent; head.replaceChildren(button);
        button.addEventListener("click", () => sort(board, head));
      });
      all("tr[data-row]", board).filter((row) => curves.rows[row.dataset.row]).forEach((row) => {
        row.tabIndex = 0; row.setAttribute("aria-expanded", "false");
        row.addEventListener("click", (event) => { if (!event.target.closest("a")) toggle(row, curves, board); });
        row.addEventListener("keydown", (event) => {
          if (event.target === row && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); toggle(row, curves, board); }
        });
      });
    });
  });

  function sort(board, head) {
    const body = board.tBodies[0], column = head.cellIndex, was = head.getAttribute("aria-sort");
    const down = was ? was === "ascending" : head.dataset.first === "down";
    all("th", board.tHead).forEach((h) => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    all("tr.detail", body).forEach((d) => { d.previousElementSibling.setAttribute("aria-expanded", "false"); d.remove(); });
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const order = head.dataset.sort === "number" ? (a, b) => value(a) - value(b) : (a, b) => value(a).localeCompare(value(b));
    body.append(...all("tr[data-row]", body).sort((a, b) => (down ? -order(a, b) : order(a, b))));
  }

  function toggle(row, curves, board) {
    if (row.nextElementSibling?.classList.contains("detail")) {
      row.nextElementSibling.remove(); row.setAttribute("aria-expanded", "false"); return;
    }
    const detail = document.createElement("tr"), cell = detail.insertCell();
    detail.className = "detail"; cell.colSpan = row.cells.length;
    const facts = document.createElement("dl");
    all("th.wide", board.tHead).map((head) => head.cellIndex).forEach((i) => {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = board.tHead.rows[0].cells[i].textContent; dd.append(...[...row.cells[i].cloneNode(true).childNodes]);
      facts.append(dt, dd);
    });
    const charts = document.createElement("div"); charts.className = "charts";
    curves.panels.forEach((name, i) => charts.append(chart(curves, row.dataset.row, i, name)));
    const frame = document.createElement("div"); frame.append(facts, charts);
    cell.append(frame); row.after(detail); row.setAttribute("aria-expanded", "true");
  }

  // One chart: the chosen row in its colour with its band, the others grey, zero-shot dashed, queries on a log axis.
  function chart(curves, chosen, panel, name) {
    const W = 220, H = 150, left = 30, right = 8, top = 6, bottom = 20, svg = node("svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
    const asked = (row) => curves.rows[row].curves[panel].filter((p) => p[0] > 0);
    const rows = Object.keys(curves.rows).sort((a, b) => (a === chosen) - (b === chosen)), zero = curves.zero[panel];
    const points = rows.flatMap(asked), ends = points.map((p) => p[0]), last = Math.max(10, ...ends), first = Math.max(1, last / 1000);
    const heights = [...points.flatMap((p) => [p[1] - p[2], p[1] + p[2]]), ...(zero === null ? [] : [zero])];
    const low = Math.floor(Math.min(...heights) / 5) * 5, high = Math.max(low + 5, Math.ceil(Math.max(...heights) / 5) * 5);
    const x = (q) => left + (W - left - right) * Math.log(Math.max(q, first) / first) / Math.log(last / first);
    const y = (a) => top + (H - top - bottom) * (high - a) / (high - low);
    const put = (tag, attributes, text) => { const n = node(tag, attributes); if (text) n.textContent = text; svg.append(n); return n; };
    for (let q = 1; q <= last; q *= 10) if (q >= first) {
      put("line", { x1: x(q), x2: x(q), y1: top, y2: H - bottom, stroke: "var(--grid)" });
      put("text", { x: x(q), y: H - 6, "text-anchor": "middle" }, q >= 1000 ? q / 1000 + "k" : String(q));
    }
    [low, (low + high) / 2, high].forEach((a) => {
      put("line", { x1: left, x2: W - right, y1: y(a), y2: y(a), stroke: "var(--grid)" });
      put("text", { x: left - 4, y: y(a) + 3, "text-anchor": "end" }, String(a));
    });
    if (zero !== null) put("line", { x1: left, x2: W - right, y1: y(zero), y2: y(zero), stroke: "var(--soft)", "stroke-dasharray": "4 3" });
    rows.forEach((row) => {
      const line = asked(row).filter((p) => p[0] >= first), mine = row === chosen, style = curves.rows[row];
      if (!line.length) return;
      const colour = style.colour === "#000000" ? "currentColor" : style.colour;
      if (mine) put("polygon", { fill: colour, opacity: 0.2, points: [...line.map((p) => [x(p[0]), y(p[1] + p[2])]), ...line.slice().reverse().map((p) => [x(p[0]), y(p[1] - p[2])])].join(" ") });
      const drawn = put("polyline", { fill: "none", stroke: mine ? colour : "var(--soft)", opacity: mine ? 1 : 0.35, "stroke-width": mine ? 2 : 1, points: line.map((p) => [x(p[0]), y(p[1])]).join(" ") });
      drawn.append(node("title", {}, style.label));
      if (mine) line.forEach((p) => put("circle", { cx: x(p[0]), cy: y(p[1]), r: 2.5, fill: colour }).append(node("title", {}, `${p[0]} queries: ${p[1].toFixed(1)} ± ${p[2].toFixed(1)} %`)));
    });
    const end = curves.rows[chosen].curves[panel].at(-1), figure = document.createElement("figure"), caption = document.createElement("figcaption");
    caption.textContent = name + (end ? `: ${end[1].toFixed(1)} %` : "");
    svg.setAttribute("aria-label", `${curves.rows[chosen].label} on ${name}, accuracy against queries`);
    figure.append(caption, svg);
    return figure;
  }

  function node(tag, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    if (text) made.textContent = text;
    return made;
  }
})();
