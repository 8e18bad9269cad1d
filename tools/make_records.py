"""`python tools/make_records.py` is `efficientdet records`."""

import sys

if __name__ == '__main__':
    sys.argv[:1] = ['efficientdet', 'records']
    from keras_efficientdet.commands.main import main

    main()
