"""ONNX, through onnx-ir and ONNX Runtime."""
