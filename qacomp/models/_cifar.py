"""What the 32x32 colour networks share: the input's shape and its normalization."""

SHAPE = (3, 32, 32)
MEAN = (0.485, 0.456, 0.406)  # the published CIFAR ResNets were trained with these, so ours are too
STD = (0.229, 0.224, 0.225)
