"""The console: one page that shows what the runtime does, and buttons that stop it."""
