"""What people see: Gradio as a view over the studio, with our own scripts for everything that moves."""
