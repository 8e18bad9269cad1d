"""`python tools/serve.py` is `efficientdet serve`."""

import sys

if __name__ == '__main__':
    sys.argv[:1] = ['efficientdet', 'serve']
    from keras_efficientdet.commands.main import main

    main()
