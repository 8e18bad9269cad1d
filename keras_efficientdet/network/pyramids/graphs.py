"""Feature pyramids as lists of nodes."""

import typing


class Node(typing.NamedTuple):
    """One fusion of features.

    level: of its output. inputs: offsets of the features that enter it, where 0, 1, ... are the
    inputs of the graph from the first level on, followed by the outputs of the nodes in order.
    """

    level: int
    inputs: tuple[int, ...]


def fpn_nodes(first, last):
    """Top-down only (Lin et al. 2017, arXiv:1612.03144; EfficientDet paper figure 2a)."""
    count = last - first + 1
    nodes = [Node(last, (count - 1,))]
    for level in range(last - 1, first - 1, -1):
        above = count + len(nodes) - 1
        nodes.append(Node(level, (level - first, above)))
    return nodes


def panet_nodes(first, last):
    """An FPN, then bottom-up over its outputs (arXiv:1803.01534; EfficientDet paper figure 2b)."""
    count = last - first + 1
    nodes = fpn_nodes(first, last)
    top_down = {level: last_of_level(nodes, level, count) for level in range(first, last + 1)}
    for level in range(first + 1, last + 1):
        below = count + len(nodes) - 1
        nodes.append(Node(level, (top_down[level], below)))
    return nodes


def bifpn_nodes(first, last):
    """Top-down, then bottom-up with the input of the level added (EfficientDet paper figure 3)."""
    features = {level: [level - first] for level in range(first, last + 1)}
    nodes = []

    def add(level, inputs):
        nodes.append(Node(level, tuple(inputs)))
        features[level].append(last - first + len(nodes))

    for level in range(last - 1, first - 1, -1):
        add(level, [features[level][-1], features[level + 1][-1]])
    for level in range(first + 1, last + 1):
        add(level, [*features[level], features[level - 1][-1]])
    return nodes


def qufpn_nodes(first, last):
    """A BiFPN, its mirror image on the same inputs, and one node per level that joins the two."""
    count = last - first + 1
    nodes = bifpn_nodes(first, last)
    forward = {level: last_of_level(nodes, level, count) for level in range(first, last + 1)}
    mirror = {level: [level - first] for level in range(first, last + 1)}

    def add(level, inputs):
        nodes.append(Node(level, tuple(inputs)))
        mirror[level].append(count + len(nodes) - 1)

    for level in range(first + 1, last + 1):
        add(level, [mirror[level][-1], mirror[level - 1][-1]])
    for level in range(last - 1, first - 1, -1):
        add(level, [*mirror[level], mirror[level + 1][-1]])
    nodes += [
        Node(level, (forward[level], mirror[level][-1])) for level in range(last, first - 1, -1)
    ]
    return nodes


GRAPHS = {
    'bifpn': bifpn_nodes,
    'qufpn': qufpn_nodes,
    'fpn': fpn_nodes,
    'panet': panet_nodes,
}


def last_of_level(nodes, level, count):
    """Offset of the last feature of a level."""
    return max(count + i for i, node in enumerate(nodes) if node.level == level)
