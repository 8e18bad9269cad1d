"""`python tools/detect.py` is `efficientdet detect`."""

import sys

if __name__ == '__main__':
    sys.argv[:1] = ['efficientdet', 'detect']
    from keras_efficientdet.commands.main import main

    main()
