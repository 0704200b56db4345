/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>

#include "build-config.h"

int
main(void)
{
    puts(PACKAGE_STRING);
    return 0;
}
