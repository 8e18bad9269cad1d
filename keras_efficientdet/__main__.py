"""`python -m keras_efficientdet` is the command `efficientdet`."""

from keras_efficientdet.commands.main import main

if __name__ == '__main__':
    main()
