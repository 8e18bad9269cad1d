"""`python tools/doctor.py` is `efficientdet doctor`."""

import sys

if __name__ == '__main__':
    sys.argv[:1] = ['efficientdet', 'doctor']
    from keras_efficientdet.commands.main import main

    main()
