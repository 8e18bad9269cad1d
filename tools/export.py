"""`python tools/export.py` is `efficientdet export`."""

import sys

if __name__ == '__main__':
    sys.argv[:1] = ['efficientdet', 'export']
    from keras_efficientdet.commands.main import main

    main()
