"""How good detections are: COCO metrics, and what stands behind them."""
