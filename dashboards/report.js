(function () {
  var dark = matchMedia("(prefers-color-scheme: dark)");
  var figures = JSON.parse(document.getElementById("figures").textContent);
  function draw() {
    Object.keys(figures).forEach(function (id) {
      var figure = figures[id][dark.matches ? "dark" : "light"];
      Plotly.react(id, figure.data, figure.layout, figures[id].config);
    });
  }
  dark.addEventListener("change", draw);
  draw();
})();
