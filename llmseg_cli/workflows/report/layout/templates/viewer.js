"use strict";
// One volume with its mask, from the page itself.
(async () => {
  const canvas = document.getElementById("viewer");
  const told = document.getElementById("viewer-told");
  const content = (name) => document.getElementById(`viewer-${name}`).textContent.trim();
  const colors = [[230, 159, 0], [86, 180, 233], [0, 158, 115], [204, 121, 167], [0, 114, 178], [213, 94, 0]];
  try {
    const viewer = new niivue.Niivue({ backColor: [0, 0, 0, 1], crosshairWidth: 0.3, dragAndDropEnabled: false });
    await viewer.attachToCanvas(canvas);
    viewer.setMultiplanarLayout(2);
    for (const name of ["image", "mask"]) {
      const volume = await niivue.NVImage.loadFromBase64({ base64: content(name), name: `${name}.nii.gz`, colormap: "gray" });
      if (name === "mask") {
        const numbers = content("numbers").split(" ").filter(Boolean).map(Number);
        const pick = (channel) => [0, ...numbers.map((_, index) => colors[index % colors.length][channel])];
        volume.setColormapLabel({ R: pick(0), G: pick(1), B: pick(2), I: [0, ...numbers], A: [0, ...numbers.map(() => 255)] });
        volume.opacity = 0.5;
      }
      viewer.addVolume(volume);
    }
    canvas.dataset.volumes = viewer.volumes.length;
  } catch (fault) {
    told.textContent = `Nothing can be turned here: ${fault.message || fault}. The slices above show the same.`;
    canvas.parentElement.hidden = true;
  }
})();
