"""`python tools/train.py` is `efficientdet train`."""

import sys

if __name__ == '__main__':
    sys.argv[:1] = ['efficientdet', 'train']
    from keras_efficientdet.commands.main import main

    main()
