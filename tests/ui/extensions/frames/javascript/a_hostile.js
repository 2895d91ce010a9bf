window.hostileRan = true;
onUiLoaded(() => {
  throw new Error("hostile when loaded");
});
onUiUpdate(() => {
  throw new Error("hostile at an update");
});
throw new Error("hostile at once");
