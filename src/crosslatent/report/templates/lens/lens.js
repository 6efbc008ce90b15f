(function () {
  "use strict";
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  var plots = Array.prototype.slice.call(document.querySelectorAll(".plot"));
  var slider = document.getElementById("layer");
  var layers = slider ? JSON.parse(document.getElementById("layers-data").textContent) : [];
  var payloads = {};

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // A copy of plain data in which names of CSS variables and of colour scales are looked up.
  function resolved(value, scales, key) {
    if (Array.isArray(value)) {
      return value.map(function (each) { return resolved(each, scales, ""); });
    }
    if (value && typeof value === "object") {
      var copy = {};
      Object.keys(value).forEach(function (name) { copy[name] = resolved(value[name], scales, name); });
      return copy;
    }
    if (typeof value !== "string") return value;
    if (key === "colorscale") return scales[value] || value;
    return (key === "color" || key.slice(-5) === "color" || key === "shadow") && value.slice(0, 2) === "--"
      ? colour(value) : value;
  }

  // "xaxis.title.text" and "shapes[0].x0" name places inside a layout.
  function put(layout, path, value) {
    var parts = path.replace(/\[(\d+)\]/g, ".$1").split(".");
    var last = parts.pop();
    parts.reduce(function (at, part) { return at[part]; }, layout)[last] = value;
  }

  function draw(plot) {
    var payload = payloads[plot.id];
    var scales = payload.scales[dark.matches ? "dark" : "light"];
    var data = resolved(payload.figure.data, scales, "");
    var layout = resolved(payload.figure.layout, scales, "");
    var frame = payload.frames && slider ? payload.frames[Number(slider.value)] : null;
    if (frame) {
      (frame.data || []).forEach(function (change, place) { Object.assign(data[place], change); });
      Object.keys(frame.layout || {}).forEach(function (path) { put(layout, path, frame.layout[path]); });
    }
    layout.width = plot.clientWidth;
    layout.height = plot.clientHeight;
    Plotly.react(plot, data, layout, { displayModeBar: false });
  }

  function name() {
    if (!slider) return;
    var layer = layers[Number(slider.value)];
    document.getElementById("layer-name").textContent = layer.name;
    document.getElementById("layer-facts").textContent = layer.facts;
    slider.setAttribute("aria-valuetext", layer.name);
  }

  function drawAll() {
    name();
    plots.forEach(draw);
  }

  plots.forEach(function (plot) {
    payloads[plot.id] = JSON.parse(document.getElementById(plot.id + "-data").textContent);
  });
  drawAll();
  plots.forEach(function (plot) {
    new ResizeObserver(function () { draw(plot); }).observe(plot);
  });
  dark.addEventListener("change", drawAll);
  if (slider) slider.addEventListener("input", drawAll);
})();
