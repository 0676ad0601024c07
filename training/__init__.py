"""From a table of sequences to one verified ONNX file. Never imports the service."""
