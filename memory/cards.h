/* memory/cards.h - the table behind memory/card.h
 *
 * X(name, title, memory in MiB, how that is known, part of it that one program may take in percent,
 *   bandwidth in GB/s (10^9), dense products of 16-bit floats summed in 32 bits in 10^12 a second (0: not known),
 *   compute capability times 10 (0: not CUDA))
 *
 * D: the total that the driver reports (nvidia-smi's memory.total, which is what is left of the chips behind what ECC
 * and the driver keep), from public logs of it; N: the nominal size, of which a driver may show a little less.
 * Bandwidths and products are those of the makers' data sheets. GeForce cards sum 16-bit products in 32 bits at half of
 * the rate that is advertised for 16-bit sums. Machines whose memory is the host's: macOS lets the graphics take two
 * thirds of it up to 36 GB and three quarters above (recommendedMaxWorkingSetSize). */
#define PARE_CARDS(X)                                                                                                  \
    X("rtx-5090", "NVIDIA GeForce RTX 5090", 32607, D, 100, 1792, 209.5, 120)                                          \
    X("rtx-5080", "NVIDIA GeForce RTX 5080", 16303, D, 100, 960, 112.6, 120)                                           \
    X("rtx-5070-ti", "NVIDIA GeForce RTX 5070 Ti", 16303, D, 100, 896, 87.9, 120)                                      \
    X("rtx-5070", "NVIDIA GeForce RTX 5070", 12227, D, 100, 672, 61.7, 120)                                            \
    X("rtx-5060-ti", "NVIDIA GeForce RTX 5060 Ti 16 GB", 16311, D, 100, 448, 47.4, 120)                                \
    X("rtx-5060", "NVIDIA GeForce RTX 5060", 8151, D, 100, 448, 38.4, 120)                                             \
    X("rtx-4090", "NVIDIA GeForce RTX 4090", 24564, D, 100, 1008, 165.2, 89)                                           \
    X("rtx-4080-super", "NVIDIA GeForce RTX 4080 SUPER", 16376, D, 100, 736, 104.4, 89)                                \
    X("rtx-4080", "NVIDIA GeForce RTX 4080", 16376, D, 100, 717, 97.5, 89)                                             \
    X("rtx-4070-ti-super", "NVIDIA GeForce RTX 4070 Ti SUPER", 16376, D, 100, 672, 88.2, 89)                           \
    X("rtx-4070-ti", "NVIDIA GeForce RTX 4070 Ti", 12282, D, 100, 504, 80.2, 89)                                       \
    X("rtx-4070-super", "NVIDIA GeForce RTX 4070 SUPER", 12282, D, 100, 504, 71.0, 89)                                 \
    X("rtx-4070", "NVIDIA GeForce RTX 4070", 12282, D, 100, 504, 58.3, 89)                                             \
    X("rtx-4060-ti", "NVIDIA GeForce RTX 4060 Ti 16 GB", 16380, D, 100, 288, 44.1, 89)                                 \
    X("rtx-4060", "NVIDIA GeForce RTX 4060", 8188, D, 100, 272, 30.2, 89)                                              \
    X("rtx-3090-ti", "NVIDIA GeForce RTX 3090 Ti", 24564, D, 100, 1008, 80.0, 86)                                      \
    X("rtx-3090", "NVIDIA GeForce RTX 3090", 24576, D, 100, 936, 71.0, 86)                                             \
    X("rtx-3080-ti", "NVIDIA GeForce RTX 3080 Ti", 12288, D, 100, 912, 68.2, 86)                                       \
    X("rtx-3080", "NVIDIA GeForce RTX 3080 10 GB", 10240, D, 100, 760, 59.5, 86)                                       \
    X("rtx-3070", "NVIDIA GeForce RTX 3070", 8192, D, 100, 448, 40.6, 86)                                              \
    X("rtx-3060-ti", "NVIDIA GeForce RTX 3060 Ti", 8192, D, 100, 448, 32.4, 86)                                        \
    X("rtx-3060", "NVIDIA GeForce RTX 3060 12 GB", 12288, D, 100, 360, 25.6, 86)                                       \
    X("rtx-2080-ti", "NVIDIA GeForce RTX 2080 Ti", 11264, D, 100, 616, 53.8, 75)                                       \
    X("gtx-1080-ti", "NVIDIA GeForce GTX 1080 Ti", 11264, D, 100, 484, 0, 61)                                          \
    X("rtx-pro-6000", "NVIDIA RTX PRO 6000 Blackwell", 97887, D, 100, 1792, 503.8, 120)                                \
    X("rtx-6000-ada", "NVIDIA RTX 6000 Ada Generation", 49140, D, 100, 960, 364.2, 89)                                 \
    X("rtx-5000-ada", "NVIDIA RTX 5000 Ada Generation", 32760, D, 100, 576, 261.1, 89)                                 \
    X("rtx-4000-ada", "NVIDIA RTX 4000 Ada Generation", 20475, D, 100, 360, 106.9, 89)                                 \
    X("rtx-a6000", "NVIDIA RTX A6000", 49140, D, 100, 768, 154.8, 86)                                                  \
    X("rtx-a5000", "NVIDIA RTX A5000", 24564, D, 100, 768, 111.1, 86)                                                  \
    X("rtx-a4000", "NVIDIA RTX A4000", 16376, D, 100, 448, 76.7, 86)                                                   \
    X("b200", "NVIDIA B200", 183359, D, 100, 8000, 2250, 100)                                                          \
    X("gh200", "NVIDIA GH200 96 GB", 97871, D, 100, 4000, 989, 90)                                                     \
    X("h200", "NVIDIA H200", 143771, D, 100, 4800, 989, 90)                                                            \
    X("h100", "NVIDIA H100 SXM 80 GB", 81559, D, 100, 3350, 989, 90)                                                   \
    X("h100-pcie", "NVIDIA H100 PCIe 80 GB", 81559, D, 100, 2000, 756, 90)                                             \
    X("h100-nvl", "NVIDIA H100 NVL 94 GB", 95830, D, 100, 3900, 835, 90)                                               \
    X("a100-80", "NVIDIA A100 80 GB", 81920, D, 100, 2039, 312, 80)                                                    \
    X("a100-40", "NVIDIA A100 40 GB", 40960, D, 100, 1555, 312, 80)                                                    \
    X("a40", "NVIDIA A40", 46068, D, 100, 696, 149.7, 86)                                                              \
    X("a30", "NVIDIA A30", 24576, D, 100, 933, 165, 80)                                                                \
    X("a10", "NVIDIA A10", 23028, D, 100, 600, 125, 86)                                                                \
    X("a10g", "NVIDIA A10G", 23028, D, 100, 600, 70, 86)                                                               \
    X("l40s", "NVIDIA L40S", 46068, D, 100, 864, 362, 89)                                                              \
    X("l40", "NVIDIA L40", 46068, D, 100, 864, 181, 89)                                                                \
    X("l4", "NVIDIA L4", 23034, D, 100, 300, 121, 89)                                                                  \
    X("t4", "NVIDIA T4", 15360, D, 100, 320, 65, 75)                                                                   \
    X("v100-32", "NVIDIA V100 32 GB", 32768, D, 100, 900, 125, 70)                                                     \
    X("v100-16", "NVIDIA V100 16 GB", 16384, D, 100, 900, 125, 70)                                                     \
    X("p100", "NVIDIA P100 16 GB", 16384, N, 100, 732, 0, 60)                                                          \
    X("p40", "NVIDIA P40", 24576, N, 100, 346, 0, 61)                                                                  \
    X("dgx-spark", "NVIDIA DGX Spark (GB10), memory of the host", 131072, N, 90, 273, 125, 121)                        \
    X("mi300x", "AMD Instinct MI300X", 196608, N, 100, 5300, 1307, 0)                                                  \
    X("mi210", "AMD Instinct MI210", 65536, N, 100, 1638, 181, 0)                                                      \
    X("rx-9070-xt", "AMD Radeon RX 9070 XT", 16384, N, 100, 640, 195, 0)                                               \
    X("rx-7900-xtx", "AMD Radeon RX 7900 XTX", 24576, N, 100, 960, 122.8, 0)                                           \
    X("rx-7900-xt", "AMD Radeon RX 7900 XT", 20480, N, 100, 800, 103, 0)                                               \
    X("rx-6800-xt", "AMD Radeon RX 6800 XT", 16384, N, 100, 512, 41.5, 0)                                              \
    X("radeon-pro-w7900", "AMD Radeon PRO W7900", 49152, N, 100, 864, 122.6, 0)                                        \
    X("strix-halo-128", "AMD Ryzen AI Max+ 395, 128 GB of the host", 131072, N, 75, 256, 59, 0)                        \
    X("arc-a770", "Intel Arc A770 16 GB", 16384, N, 100, 560, 0, 0)                                                    \
    X("arc-b580", "Intel Arc B580", 12288, N, 100, 456, 0, 0)                                                          \
    X("m1-max-64", "Apple M1 Max, 64 GB of the host", 65536, N, 75, 400, 0, 0)                                         \
    X("m2-max-96", "Apple M2 Max, 96 GB of the host", 98304, N, 75, 400, 0, 0)                                         \
    X("m2-ultra-192", "Apple M2 Ultra, 192 GB of the host", 196608, N, 75, 800, 0, 0)                                  \
    X("m3-max-128", "Apple M3 Max, 128 GB of the host", 131072, N, 75, 400, 0, 0)                                      \
    X("m3-ultra-512", "Apple M3 Ultra, 512 GB of the host", 524288, N, 75, 819, 0, 0)                                  \
    X("m4-24", "Apple M4, 24 GB of the host", 24576, N, 66, 120, 0, 0)                                                 \
    X("m4-pro-48", "Apple M4 Pro, 48 GB of the host", 49152, N, 75, 273, 0, 0)                                         \
    X("m4-max-128", "Apple M4 Max, 128 GB of the host", 131072, N, 75, 546, 0, 0)
