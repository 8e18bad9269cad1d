"""Tables of names that keys of a configuration choose from; the code that a name stands for is elsewhere."""

# EfficientNet by name: (width, depth), the factors of B0 (EfficientNet paper, table 2).
SCALINGS = {
    'efficientnet-b0': (1.0, 1.0),
    'efficientnet-b1': (1.0, 1.1),
    'efficientnet-b2': (1.1, 1.2),
    'efficientnet-b3': (1.2, 1.4),
    'efficientnet-b4': (1.4, 1.8),
    'efficientnet-b5': (1.6, 2.2),
    'efficientnet-b6': (1.8, 2.6),
    'efficientnet-b7': (2.0, 3.1),
    'efficientnet-b8': (2.2, 3.6),
    'efficientnet-l2': (4.3, 5.3),
    'efficientnet-lite0': (1.0, 1.0),
    'efficientnet-lite1': (1.0, 1.1),
    'efficientnet-lite2': (1.1, 1.2),
    'efficientnet-lite3': (1.2, 1.4),
    'efficientnet-lite4': (1.4, 1.8),
}

# {name: network.heads.Head}, filled by network.heads, which imports every head.
HEADS = {}
