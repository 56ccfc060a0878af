"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("js");
  const tabs = all(".tab"), panels = all(".panel"), boards = new Map();

  // The address holds what is shown: #tab?after=500&find=zip&sent=...&references=0&variants=1&sort=accuracy.down&open=zip
  const state = () => {
    const [tab, rest] = location.hash.slice(1).split("?");
    return { tab: decodeURIComponent(tab || ""), wanted: new URLSearchParams(rest || "") };
  };
  const shown = () => panels.find((p) => !p.hidden);
  const remember = () => {
    const panel = shown(), words = boards.has(panel) ? boards.get(panel).words().toString() : "";
    history.replaceState(null, "", `#${panel.id}${words ? "?" + words : ""}`);
  };
  const show = (id) => {
    const open = panels.find((p) => p.id === id) || panels[0];
    panels.forEach((p) => { p.hidden = p !== open; });
    tabs.forEach((t) => { t.getAttribute("href") === "#" + open.id ? t.setAttribute("aria-current", "page") : t.removeAttribute("aria-current"); });
    return open;
  };
  tabs.forEach((tab) => tab.addEventListener("click", (event) => {
    event.preventDefault();
    show(tab.getAttribute("href").slice(1)).querySelector("h2").focus({ preventScroll: true });
    remember();
  }));

  panels.filter((p) => p.querySelector(".budget")).forEach((panel) => boards.set(panel, board(panel)));
  const restore = () => {
    const { tab, wanted } = state(), panel = show(tab);
    if (boards.has(panel)) boards.get(panel).restore(wanted);
  };
  window.addEventListener("hashchange", restore);
  boards.forEach((one) => one.restore(new URLSearchParams()));  // so that a tab that is clicked shows one view, too
  restore();

  function board(panel) {
    const views = all(".view", panel), curves = JSON.parse(panel.querySelector(".curves").textContent);
    const control = Object.fromEntries(["budget", "find", "sent", "references", "variants"].map((n) => [n, panel.querySelector("." + n)]));
    const last = control.budget.value, details = new Map(all(".rows .row", panel).map((d) => [d.dataset.row, d])), opened = new Set();
    let sorted = "";
    const sents = new Set(all("tr[data-row]", panel).map((r) => r.dataset.sent).filter(Boolean));
    sents.forEach((name) => control.sent.append(new Option(name, name)));

    const filter = () => {
      const word = control.find.value.toLowerCase(), sent = control.sent.value;
      views.forEach((view) => {
        view.hidden = view.dataset.budget !== control.budget.value;
        let seen = 0;
        all("tr[data-row]", view).forEach((row) => {
          const variant = row.classList.contains("variant"), ranked = row.classList.contains("ranked");
          row.hidden = !row.querySelector("th").textContent.toLowerCase().includes(word)
            || (sent && row.dataset.sent !== sent)
            || (variant ? !control.variants?.checked : !ranked && !control.references.checked);
          if (row.nextElementSibling?.classList.contains("detail")) row.nextElementSibling.hidden = row.hidden;
          seen += !row.hidden;
        });
        view.querySelector(".empty").hidden = seen > 0;
        if (!view.hidden) panel.querySelector(".count").textContent = seen + (seen === 1 ? " row" : " rows");
      });
    };
    const change = () => { place(); filter(); remember(); };
    Object.values(control).filter(Boolean).forEach((one) => one.addEventListener("input", change));
    all(".reset", panel).forEach((button) => button.addEventListener("click", () => {
      control.find.value = control.sent.value = ""; control.references.checked = true; change(); control.find.focus();
    }));

    views.forEach((view) => {
      all("th[data-sort]", view).forEach((head) => {
        const button = document.createElement("button");
        button.type = "button"; button.textContent = head.textContent; head.replaceChildren(button);
        button.addEventListener("click", () => {
          const was = head.getAttribute("aria-sort"), down = was ? was === "ascending" : head.dataset.first === "down";
          sort(`${head.dataset.key}.${down ? "down" : "up"}`); remember();
        });
      });
      all("tr[data-row]", view).filter((row) => details.has(row.dataset.row)).forEach((row) => {
        const head = row.querySelector("th"), button = document.createElement("button");
        button.type = "button"; button.setAttribute("aria-expanded", "false"); button.append(head.firstChild); head.prepend(button);
        row.classList.add("can");
        row.addEventListener("click", (event) => {
          if (event.target.closest("a")) return;
          const name = row.dataset.row;
          opened.has(name) ? opened.delete(name) : opened.add(name);
          place(); filter(); remember();
        });
      });
    });

    // Sort every view; rows without a value come last in both directions.
    function sort(by) {
      const [key, direction] = by.split("."), down = direction === "down";
      if (!all("th[data-key]", views[0]).some((h) => h.dataset.key === key)) return;
      sorted = by;
      close();
      views.forEach((view) => {
        const body = view.querySelector(".board tbody"), heads = all("th[data-key]", view), head = heads.find((h) => h.dataset.key === key);
        heads.forEach((h) => (h === head ? h.setAttribute("aria-sort", down ? "descending" : "ascending") : h.removeAttribute("aria-sort")));
        const value = (row) => { const cell = row.cells[head.cellIndex], text = cell.dataset.value ?? cell.textContent.trim(); return text === "–" ? "" : text; };
        const order = head.dataset.sort === "number" ? (a, b) => a - b : (a, b) => a.localeCompare(b);
        body.append(...all("tr[data-row]", body).sort((one, other) => {
          const a = value(one), b = value(other);
          return a === "" || b === "" ? (a === "") - (b === "") : down ? order(b, a) : order(a, b);
        }));
      });
      place();
    }

    // The opened rows stand in the view that is shown; their text is moved there and back.
    function close() {
      all("tr.detail", panel).forEach((d) => { details.get(d.dataset.of).append(d.querySelector(".body")); d.remove(); });
      all("button[aria-expanded]", panel).forEach((b) => b.setAttribute("aria-expanded", "false"));
    }
    function place() {
      close();
      const view = views.find((v) => v.dataset.budget === control.budget.value);
      all("tr[data-row]", view).filter((row) => opened.has(row.dataset.row)).forEach((row) => {
        const name = row.dataset.row, detail = document.createElement("tr"), cell = detail.insertCell(), body = details.get(name).querySelector(".body");
        detail.className = "detail"; detail.dataset.of = name; cell.colSpan = row.cells.length; cell.append(body);
        all(".reading", body).forEach((one) => { one.hidden = one.dataset.budget !== control.budget.value; });
        if (curves.rows[name] && body.querySelector(".drawn")?.dataset.at !== control.budget.value) {
          body.querySelector(".drawn")?.remove(); body.append(drawn(curves, name, Number(control.budget.value)));
        }
        row.querySelector("th button").setAttribute("aria-expanded", "true"); row.after(detail);
      });
    }

    const words = () => {
      const found = new URLSearchParams(), put = (name, value, usual) => { if (value !== usual) found.set(name, value); };
      put("after", control.budget.value, last); put("find", control.find.value, ""); put("sent", control.sent.value, "");
      put("references", control.references.checked ? "1" : "0", "1"); put("variants", control.variants?.checked ? "1" : "0", "0");
      put("sort", sorted, ""); opened.forEach((name) => found.append("open", name));
      return found;
    };
    const restore = (wanted) => {
      const pick = (select, value) => { if ([...select.options].some((o) => o.value === value)) select.value = value; };
      control.budget.value = last; pick(control.budget, wanted.get("after"));
      control.find.value = wanted.get("find") || ""; control.sent.value = ""; pick(control.sent, wanted.get("sent"));
      control.references.checked = wanted.get("references") !== "0";
      if (control.variants) control.variants.checked = wanted.get("variants") === "1";
      opened.clear(); wanted.getAll("open").filter((name) => details.has(name)).forEach((name) => opened.add(name));
      sort(wanted.get("sort") || ""); place(); filter();
    };
    return { words, restore };
  }

  // The charts of an opened row with their legend. at: the number of queries after which their titles state the accuracy.
  function drawn(curves, chosen, at) {
    const both = document.createElement("div"), panelsOf = document.createElement("div"), legend = document.createElement("ul"), style = curves.rows[chosen];
    both.className = "drawn"; both.dataset.at = at; panelsOf.className = "panels"; legend.className = "legend";
    curves.panels.forEach((name, i) => panelsOf.append(chart(curves, chosen, i, name, at)));
    [[style.label + ", ± one standard deviation over seeds", { stroke: style.colour, "stroke-width": 2, "stroke-dasharray": style.dash }],
      ["other methods", { class: "other" }], ["hand template, zero-shot", { class: "zero" }],
      [`after ${at.toLocaleString("en")} queries: the accuracy in the titles`, { class: "at" }]].forEach(([text, look], i) => {
      const item = document.createElement("li"), svg = node("svg", { viewBox: "0 0 30 14", class: "swatch", "aria-hidden": "true" });
      svg.append(node("line", { x1: 0, x2: 30, y1: 7, y2: 7, ...look }));
      if (!i) svg.append(node("path", { d: style.marker, transform: "translate(15 7) scale(4)", fill: style.colour }));
      item.append(svg, text); legend.append(item);
    });
    both.append(legend, panelsOf);
    return both;
  }

  // One chart: the chosen row in its colour with its band, the others grey, zero-shot dashed, queries on a log axis.
  function chart(curves, chosen, panel, name, at) {
    const W = 240, H = 170, left = 44, right = 8, top = 6, bottom = 32, svg = node("svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
    const asked = (row) => curves.rows[row].curves[panel].filter((p) => p[0] > 0);
    const rows = Object.keys(curves.rows).sort((a, b) => (a === chosen) - (b === chosen)), zero = curves.zero[panel];
    const points = rows.flatMap(asked), ends = points.map((p) => p[0]), last = Math.max(10, ...ends), first = Math.max(1, last / 1000);
    const heights = [...points.flatMap((p) => [p[1] - p[2], p[1] + p[2]]), ...(zero === null ? [] : [zero])];
    const low = Math.floor(Math.min(...heights) / 5) * 5, high = Math.max(low + 5, Math.ceil(Math.max(...heights) / 5) * 5);
    const x = (q) => left + (W - left - right) * Math.log(Math.max(q, first) / first) / Math.log(last / first);
    const y = (a) => top + (H - top - bottom) * (high - a) / (high - low);
    const put = (tag, attributes, text) => { const n = node(tag, attributes); if (text) n.textContent = text; svg.append(n); return n; };
    for (let q = 1; q <= last; q *= 10) if (q >= first) {
      put("line", { x1: x(q), x2: x(q), y1: top, y2: H - bottom, class: "grid" });
      put("text", { x: x(q), y: H - bottom + 12, "text-anchor": "middle" }, q >= 1000 ? q / 1000 + "k" : String(q));
    }
    [low, (low + high) / 2, high].forEach((a) => {
      put("line", { x1: left, x2: W - right, y1: y(a), y2: y(a), class: "grid" });
      put("text", { x: left - 4, y: y(a) + 3, "text-anchor": "end" }, String(a));
    });
    put("text", { x: (left + W - right) / 2, y: H - 5, "text-anchor": "middle" }, "queries");
    put("text", { transform: "rotate(-90)", x: -(top + H - bottom) / 2, y: 9, "text-anchor": "middle" }, "accuracy (%)");
    if (at <= last) put("line", { x1: x(at), x2: x(at), y1: top, y2: H - bottom, class: "at" });
    if (zero !== null) put("line", { x1: left, x2: W - right, y1: y(zero), y2: y(zero), class: "zero" });
    rows.forEach((row) => {
      const line = asked(row).filter((p) => p[0] >= first), mine = row === chosen, style = curves.rows[row];
      if (!line.length) return;
      const spot = (p) => [x(p[0]), y(p[1])];
      if (mine) put("polygon", { fill: style.colour, opacity: 0.2, points: [...line.map((p) => [x(p[0]), y(p[1] + p[2])]), ...line.slice().reverse().map((p) => [x(p[0]), y(p[1] - p[2])])].join(" ") });
      const drawnLine = put("polyline", { fill: "none", ...(mine ? { stroke: style.colour, "stroke-width": 2, "stroke-dasharray": style.dash } : { class: "other" }), points: line.map(spot).join(" ") });
      drawnLine.append(node("title", {}, style.label));
      if (mine) line.forEach((p) => put("path", { d: style.marker, transform: `translate(${spot(p)}) scale(3)`, fill: style.colour }).append(node("title", {}, `${p[0]} queries: ${p[1].toFixed(1)} ± ${p[2].toFixed(1)} %`)));
    });
    const end = curves.rows[chosen].curves[panel].filter((p) => p[0] <= at).at(-1), figure = document.createElement("figure"), caption = document.createElement("figcaption");
    caption.textContent = name + (end ? `: ${end[1].toFixed(1)} %` : "");
    svg.setAttribute("aria-label", `${curves.rows[chosen].label} on ${name}, accuracy against queries`);
    figure.append(caption, svg);
    return figure;
  }

  function node(tag, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([key, value]) => value !== "" && made.setAttribute(key, value));
    if (text) made.textContent = text;
    return made;
  }
})();
