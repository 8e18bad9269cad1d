"""`python tools/benchmark.py` is `efficientdet benchmark`."""

import sys

if __name__ == '__main__':
    sys.argv[:1] = ['efficientdet', 'benchmark']
    from keras_efficientdet.commands.main import main

    main()
