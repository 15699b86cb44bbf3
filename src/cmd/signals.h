/* cmd/signals.h - what happens on Ctrl-C, on a vanished pipe, and when a mapped file shrinks under us */
#ifndef PARE_CMD_SIGNALS_H
#define PARE_CMD_SIGNALS_H

/* SIGINT, SIGTERM: the first asks the library to stop (it removes its temporaries), a second removes them and exits at
 * once with 128 + signal. SIGBUS in a mapped file: the file and the offset, exit 3. SIGPIPE: the write fails instead.
 */
void cmd_signals_start(void);

#endif
