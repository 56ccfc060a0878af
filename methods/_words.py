"""Lists of words that templates are put together from: published beside a model, and no part of it.

clip: the words of the 80 templates that CLIP's authors publish for ImageNet (Radford et al., ICML 2021), and
of the templates in the cards of the papers' data sets.
mini: the vocabulary of the captions that the mini model was trained on (bench/mini/vocabulary.py).
"""

CLIP = """
    a aircraft and art bad black blurry bright cartoon centered clean close cool corrupted cropped dark
    dirty doing doodle drawing embroidered flower food game good graffiti hard in is itap jpeg large low
    many my nice objects of one origami painting person pet photo pixelated plastic plushie rendering
    rendition resolution satellite sculpture see sketch small tattoo texture the this to toy type up video
    weird white
"""
MINI = """
    a above aerial alpha alphas an and any arch arches are area arrow arrows as at b background bad behind
    beta betas big black blue blurred blurry bold both brick bricks bright brown bs c capital center
    centered character checkered checkereds chi chis circle circles clean clock clocks close cloth color
    colored colors colour corner count cover crescent crescents cropped crops cropses cross crosses cs
    cyan d dark delta deltas desert deserts dial diamond diamonds digit digits direction dotted dotteds
    drawing drop drops ds e east easts eight eights eleven elevens epsilon epsilons es eta etas everything
    exactly f fabric face figure figures filled five fives foreground forest forests four fours from front
    fs g gamma gammas good gray greek green ground gs h half hand handwritten heart hearts here hes
    hexagon hexagons highway highways hour i image images in industry industrys infrared iota iotas is it
    j js k kappa kappas kind ks l lambda lambdas land large letter letters low ls m made main many map
    mark marked marks material mix ms mu mus n netted netteds nine nines no north northeast northeasts
    northes northwest northwests not ns nu number nus o object objects of old omega omegas omicron
    omicrons on one ones or orange orchard orchards os other outlined over p painting paper past pasture
    pastures pattern phi phis photo photos pi picture piece pink pis place pointing points printed ps psi
    psis purple q qs quarter r reads red region rendering resolution rho rhos ring ringed ringeds rings
    river rivers rs s satellite says scan scene sea seas see seen ses set seven sevens several shape
    shapes showing shown shows side sigma sigmas sign signs six sixes sketch small solid some something
    south southeast southeasts southes southwest southwests speckled speckleds square squares star stars
    street striped stripeds style surface symbol symbols t tau taus tells ten tens texture that the there
    theta thetas thing things this three threes tile tiles time to total towards triangle triangles ts
    twelve twelves two twos type u up upsilon upsilons us use v view village villages vs w wall wavy wavys
    we west wests what which white with woven wovens written ws x xes xi xis y yellow ys z zero zeros zeta
    zetas zigzag zigzags zs
"""
LISTS = {"clip": tuple(CLIP.split()), "mini": tuple(MINI.split())}
