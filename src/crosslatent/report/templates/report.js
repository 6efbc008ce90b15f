(function () {
  "use strict";
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  var plots = Array.prototype.slice.call(document.querySelectorAll(".plot"));
  var payloads = {};

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function theme(payload) {
    var change = {
      "font.color": colour("--ink"),
      "coloraxis.colorscale": dark.matches ? payload.dark : payload.light,
      "hoverlabel.bgcolor": colour("--card"),
      "hoverlabel.font.color": colour("--ink"),
      "hoverlabel.bordercolor": colour("--grey")
    };
    if ((payload.figure.layout.shapes || []).length) {
      change["shapes[0].line.color"] = colour("--card");
      change["shapes[1].line.color"] = colour("--ink");
    }
    return change;
  }

  function size(plot) {
    return { width: plot.clientWidth, height: plot.clientHeight };
  }

  function draw(plot) {
    var payload = JSON.parse(document.getElementById(plot.id + "-data").textContent);
    payloads[plot.id] = payload;
    var layout = Object.assign({}, payload.figure.layout, size(plot));
    Plotly.newPlot(plot, payload.figure.data, layout, { displayModeBar: false }).then(function () {
      Plotly.relayout(plot, theme(payload));
      new ResizeObserver(function () {
        Plotly.relayout(plot, size(plot));
      }).observe(plot);
    });
  }

  plots.forEach(draw);

  dark.addEventListener("change", function () {
    plots.forEach(function (plot) {
      Plotly.relayout(plot, theme(payloads[plot.id]));
    });
  });

  document.querySelectorAll("select[data-run]").forEach(function (select) {
    select.addEventListener("change", function () {
      plots.forEach(function (plot) {
        if (plot.dataset.run !== select.dataset.run) return;
        var view = payloads[plot.id].views[Number(select.value)];
        var change = { z: [view.z], text: [view.text], hovertext: [view.hover] };
        var lowest = payloads[plot.id].figure.layout.coloraxis.cmin === 0 ? 0 : -view.limit;
        Plotly.update(plot, change, { "coloraxis.cmin": lowest, "coloraxis.cmax": view.limit });
      });
    });
  });
})();
