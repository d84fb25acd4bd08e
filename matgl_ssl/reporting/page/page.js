"use strict";
(async () => {
  const config = {
    responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg", filename: "figure" },
  };
  const narrow = () => window.innerWidth < 600;
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  /** A list from which the reader chooses, above a drawing; fewer than two names need none. */
  function choose(controls, label, names, chosen) {
    const select = document.createElement("select");
    names.forEach((name, i) => select.add(new Option(name, i)));
    select.addEventListener("change", chosen);
    if (names.length > 1) {
      const line = document.createElement("label");
      line.append(label, select);
      controls.append(line);
    }
    return () => Number(select.value);
  }

  /** Points of a map: a trace for each category, or one with a bar of colours. */
  function coloured(spec, place, colouring) {
    const { x, y } = place;
    const trace = (rows, more) => ({
      type: "scatter", mode: "markers", x: rows.map((i) => x[i]), y: rows.map((i) => y[i]),
      text: rows.map((i) => spec.text[i]), hovertemplate: "%{text}<extra></extra>", ...more,
    });
    const all = x.map((_, i) => i);
    if (!colouring) return [trace(all, { marker: { size: 6, color: spec.colours[0], opacity: 0.75 } })];
    if (colouring.categories) {
      return colouring.categories.map((name, k) => trace(
        all.filter((i) => colouring.values[i] === k),
        { name, marker: { size: 6, color: spec.colours[k % spec.colours.length], opacity: 0.8,
                          symbol: k < spec.colours.length ? "circle" : "diamond" } },
      ));
    }
    const bar = { title: { text: escaped(colouring.name), side: "top" }, orientation: "h", thickness: 10, len: 0.6,
                  x: 0, xanchor: "left", y: 1, yanchor: "bottom", nticks: 5 };
    return [trace(all, { marker: { size: 6, opacity: 0.85, color: all.map((i) => colouring.values[i]),
      colorscale: spec.scale, cmin: colouring.low, cmax: colouring.high, colorbar: bar } })];
  }

  /** What a drawing shows now, as plotly.js takes it. */
  function shown(spec, chosen) {
    if (spec.kind === "figure") return [spec.data, spec.layout];
    if (spec.kind === "choice") { const { data, layout } = spec.options[chosen[0]()]; return [data, layout]; }
    const names = Object.keys(spec.places);
    const data = coloured(spec, spec.places[names[chosen[0]()]], spec.colourings[chosen[1]()]);
    const bare = { showticklabels: false, ticks: "", zeroline: false, automargin: false };
    const layout = { ...spec.layout, showlegend: data.length > 1, margin: { l: 8, r: 8, t: 64, b: 8 },
      xaxis: { ...spec.layout.xaxis, ...bare }, yaxis: { ...spec.layout.yaxis, ...bare } };
    return [data, layout];
  }

  /** The same for a small screen: a periodic table needs smaller symbols there. */
  function fitted([data, layout]) {
    if (!narrow()) return [data, layout];
    const smaller = data.map((trace) => trace.textfont ? { ...trace, textfont: { ...trace.textfont, size: 9 } } : trace);
    return [smaller, { ...layout, font: { ...layout.font, size: 11 } }];
  }

  function draw(box) {
    const spec = JSON.parse(box.firstElementChild.textContent);
    const controls = box.previousElementSibling;
    box.replaceChildren();
    const chosen = [];
    const again = () => { const [data, layout] = fitted(shown(spec, chosen)); return Plotly.react(box, data, layout, config); };
    if (spec.kind === "choice") chosen.push(choose(controls, spec.label, spec.options.map((o) => o.name), again));
    if (spec.kind === "map") {
      chosen.push(choose(controls, "Map by", Object.keys(spec.places), again));
      chosen.push(choose(controls, "Colour by", spec.colourings.map((c) => c.name), again));
    }
    return again();
  }

  const boxes = [...document.querySelectorAll(".drawing")];
  try {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const library = document.createElement("script");
    library.textContent = await new Response(stream).text();
    document.head.append(library);
    for (const box of boxes) await draw(box);
    document.documentElement.dataset.drawn = boxes.length;
  } catch (error) {
    for (const box of boxes.filter((each) => !each.classList.contains("js-plotly-plot"))) {
      box.textContent = "This figure could not be drawn. Browsers of 2023 or later can draw it.";
      box.classList.add("failed");
      box.style.height = "auto";
    }
    throw error;
  }
})();
