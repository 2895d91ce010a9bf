onUiLoaded(() => {
  const prompt = gradioApp().querySelector("#txt2img_prompt > label > textarea");
  prompt.value = "written by a script";
  updateInput(prompt);
  document.body.dataset.polite = [typeof switch_to_img2img, get_uiCurrentTabContent().id, localization["Frames"] ?? ""].join(" ");
});
onOptionsAvailable(() => (document.body.dataset.wood = opts.frames_wood));
