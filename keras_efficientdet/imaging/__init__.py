"""Images outside of TensorFlow: reading, drawing, videos."""
