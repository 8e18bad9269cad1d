"""`python tools/evaluate.py` is `efficientdet evaluate`."""

import sys

if __name__ == '__main__':
    sys.argv[:1] = ['efficientdet', 'evaluate']
    from keras_efficientdet.commands.main import main

    main()
