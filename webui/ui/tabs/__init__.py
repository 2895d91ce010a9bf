"""The pages. Each `build` makes its components and wires them; the decisions are in `webui.ui.actions`."""
