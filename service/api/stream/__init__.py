"""The stream: WebSockets, channels, frames in and out."""
